"""Threads that work beside the main thread."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")

_END = object()


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields `items`, and prepares the next item in a thread while the caller works on the current item.

    Args:
        items: The iterable. One thread advances it, at most one item ahead of the caller. It must not draw from the
            global random generators, because the caller uses them at the same time.

    Raises:
        Exception: An exception of `items`, raised at its place in the sequence.
    """
    source = iter(items)
    with helping_threads(1) as pool:
        upcoming = pool.submit(next, source, _END)
        while (item := upcoming.result()) is not _END:
            # Submitted before the caller gets its item, so that both work at the same time.
            upcoming = pool.submit(next, source, _END)
            yield item  # pyright: ignore[reportReturnType]  # no item is _END


def helping_threads(count: int) -> ThreadPoolExecutor:
    """Makes a pool of threads in which a torch operation uses one core.

    On all cores, the operations would slow down the main thread: without this limit, reading small rotated images ahead
    more than halves the speed of encoding them on two cores. The limit belongs to each thread and leaves the main
    thread alone.

    Args:
        count: Number of threads.
    """
    return ThreadPoolExecutor(count, thread_name_prefix="vqgen", initializer=torch.set_num_threads, initargs=(1,))
