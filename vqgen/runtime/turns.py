"""What the processes of one training do together before it starts."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def in_turn(load: Callable[[bool], T]) -> T:
    """Loads in the first process, then in the first of each other machine, then in all the rest.

    So a file is downloaded by one process at a time, and the others find it. A process that fails keeps its error until
    all had their turn: nobody waits for it.

    Args:
        load: Called once, with whether this process may download.

    Returns:
        What `load` returned in this process.
    """
    if not _together():
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
            # Named, because NCCL otherwise guesses the device, and warns.
            nccl = distributed.get_backend() == "nccl"
            distributed.barrier(device_ids=[torch.cuda.current_device()] if nccl else None)
    if failure is not None:
        raise failure
    return result[0]


def shared_out(work: Callable[[range], list[T]], count: int) -> list[T]:
    """Does `count` pieces of work, each in one process, and gives all processes the results of all.

    Args:
        work: Pieces -> their results, any number of them; it must not raise.
        count: Number of pieces.

    Returns:
        The results in the order of the pieces.
    """
    if not _together():
        return work(range(count))
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    gathered: list[list[T]] = [[] for _ in range(processes)]
    distributed.all_gather_object(gathered, work(range(rank * count // processes, (rank + 1) * count // processes)))
    return [result for results in gathered for result in results]


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return not _together() or distributed.get_rank() == 0


def processes_here() -> int:
    """The number of processes of this training on this machine, at least 1."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if _together() else 1


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
