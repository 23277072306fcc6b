"""Work that the processes of one training share before it starts."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def in_turn(load: Callable[[bool], T]) -> T:
    """Loads in the first process, then in the first process of each other machine, then in all other processes.

    So one process of a machine downloads a file, and the other processes of the machine find it. A process that fails
    raises its error after all processes had their turn, because they would wait for it otherwise.

    Args:
        load: Called once, with True if this process may download.

    Returns:
        The result of `load` in this process.
    """
    if not _is_distributed():
        return load(True)
    turn = 0 if distributed.get_rank() == 0 else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    result: list[T] = []
    failure: Exception | None = None
    for now in range(3):
        if now == turn:
            try:
                result.append(load(turn < 2))
            except Exception as error:
                failure = error
        if now < 2:
            # Without a device NCCL guesses one, and warns.
            nccl = distributed.get_backend() == "nccl"
            distributed.barrier(device_ids=[torch.cuda.current_device()] if nccl else None)
    if failure is not None:
        raise failure
    return result[0]


def shared_out(work: Callable[[range], list[T]], count: int) -> list[T]:
    """Does `count` pieces of work, each in one process, and gives the results to all processes.

    Args:
        work: Maps pieces to a list of results, of any length. It must not raise, because the other processes would wait
            for its results.
        count: Number of pieces.

    Returns:
        The results of all processes, in the order of the pieces.
    """
    if not _is_distributed():
        return work(range(count))
    rank = distributed.get_rank()
    processes = distributed.get_world_size()
    gathered: list[list[T]] = [[] for _ in range(processes)]
    distributed.all_gather_object(gathered, work(range(rank * count // processes, (rank + 1) * count // processes)))
    return [result for results in gathered for result in results]


def is_first() -> bool:
    """Returns True in the process that prints for all processes."""
    return not _is_distributed() or distributed.get_rank() == 0


def processes_here() -> int:
    """Returns the number of processes of this training on this machine, at least 1."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if _is_distributed() else 1


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
