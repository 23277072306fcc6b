"""Threads that work beside the main thread."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread
from typing import TypeVar

import torch

Item = TypeVar("Item")

_END = object()

_default_threads = Lock()
"""Held while the process's default number of threads is another one."""


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
    more than halves the speed of encoding them on two cores. The limit belongs to the threads of the pool. The caller,
    and all threads that it starts later, compute in as many threads as before.

    Args:
        count: Number of threads.
    """
    torch.get_num_threads()  # fixes the number of the caller, which torch would take at its first operation
    return ThreadPoolExecutor(count, thread_name_prefix="vqgen", initializer=_use_one_core)


def _use_one_core() -> None:
    """Lets this thread compute on one core, and no other thread."""
    # torch sets the number of this thread, and with it the number that new threads of the process begin with. A thread
    # that ends at once sets the latter back. One at a time: a second one would take the 1 of the first as the default.
    with _default_threads:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        restoring = Thread(target=torch.set_num_threads, args=(before,))
        restoring.start()
        restoring.join()
