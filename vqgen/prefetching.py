"""Work done one piece ahead, in a thread."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields `items`, the next one being made in a thread while the caller works on the one before.

    Args:
        items: Advanced by one thread only, and by one item more than the caller has taken. It must not draw from the
            global random generators, which the caller uses at the same time.

    Raises:
        Exception: What `items` raises, in its place.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="one-ahead") as pool:
        upcoming = pool.submit(next, source, _END)
        while (item := upcoming.result()) is not _END:
            upcoming = pool.submit(next, source, _END)
            yield item  # pyright: ignore[reportReturnType]  # no item is _END
