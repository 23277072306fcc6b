"""Work done by threads beside the one that computes."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

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
    with helping_threads(1) as pool:
        upcoming = pool.submit(next, source, _END)
        while (item := upcoming.result()) is not _END:
            upcoming = pool.submit(next, source, _END)
            yield item  # pyright: ignore[reportReturnType]  # no item is _END


def helping_threads(count: int) -> ThreadPoolExecutor:
    """Threads in which a torch operation uses one core: with all of them it would slow down who computes.

    The setting is a thread's own. Without it, reading small rotated images ahead more than halves the speed of
    encoding them on two cores.
    """
    return ThreadPoolExecutor(count, thread_name_prefix="vqgen", initializer=torch.set_num_threads, initargs=(1,))
