"""Sums, gathers and shared outcomes over the processes of a run. With one process they return their input.

Legend: `n` rows of this process, `d` dimensions of a row, `m` rows to fetch.
"""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """The processes of a launch.

    Attributes:
        rank: The index of this process, in [0, world_size).
        world_size: The number of processes, at least 1.
        device: The device of this process.
    """

    rank: int
    world_size: int
    device: torch.device

    def share(self, count: int) -> range:
        """Returns the part of 0..count-1 that this process does. Parts are contiguous and differ by at most one."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)


def world_size() -> int:
    """Returns the number of processes that train together, at least 1."""
    return dist.get_world_size() if is_joined() else 1


def is_joined() -> bool:
    """Returns True if this process has joined a group, even one of a single process."""
    return dist.is_available() and dist.is_initialized()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sums `tensor` in place over all processes and returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_max(tensor: Tensor) -> Tensor:
    """Takes the maximum of `tensor` over all processes, in place and element by element, and returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def gather_objects(items: list[Item], *, to_main_only: bool = False) -> list[Item]:
    """Joins the lists of all processes, in order of rank.

    Args:
        items: The items of this process, which can be pickled.
        to_main_only: Send all items to the process of rank 0 only. Every other process then receives an empty list.
    """
    if world_size() == 1:
        return items
    gathered: list[list[Item]] = [[] for _ in range(world_size())]
    if not to_main_only:
        dist.all_gather_object(gathered, items)
    elif dist.get_rank() == 0:
        dist.gather_object(items, gathered)
    else:
        dist.gather_object(items)
    return [item for part in gathered for item in part]


def on_main(act: Callable[[], Result]) -> Result:
    """Runs `act` in the process of rank 0. All processes receive its result, or raise its error.

    Args:
        act: Its result can be pickled.

    Raises:
        BaseException: Any error of `act`, a fault of the program and a signal too: the other processes would wait for a
            result that never comes. They receive an error that cannot be pickled as a `RuntimeError` with its text.
    """
    if world_size() == 1:
        return act()
    failure: BaseException | None = None
    parcel: list[bytes | None] = [None]
    if dist.get_rank() == 0:
        try:
            parcel = [pickle.dumps((act(), None))]
        except BaseException as error:
            failure = error
            parcel = [pickle.dumps((None, _portable(error)))]
    try:
        dist.broadcast_object_list(parcel)
    except Exception:
        if failure is None:  # otherwise the others have ended, for the same signal perhaps
            raise
    if failure is not None:
        raise failure  # not its copy: with the traceback
    assert parcel[0] is not None
    result, error = pickle.loads(parcel[0])
    if error is not None:
        raise error
    return result


def in_all(act: Callable[[], object]) -> None:
    """Runs `act` in all processes and waits for all of them. If it fails in some, all raise the first error.

    Args:
        act: The work of this process. A signal stops it at once, without waiting for the others.
    """
    if world_size() == 1:
        act()
        return
    failure: Exception | None = None
    try:
        act()
    except Exception as error:
        failure = error
    for error in gather_objects([None if failure is None else _portable(failure)]):
        if error is not None:  # in order of rank, so that all processes raise the same one
            raise error


def _portable(error: BaseException) -> BaseException:
    """Returns an error that can be pickled: the error itself or, if it has no pickle, one with its text."""
    try:
        pickle.loads(pickle.dumps(error))  # some errors can be written but not read again
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)).strip())
    return error


def row_span(num_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Computes the global index of the rows of this process, if all rows stand in a line in order of rank.

    Args:
        num_rows: Rows of this process.
        device: The device for the exchange and for the results. The results stay there, so that the host does not wait.

    Returns:
        The global index of the first row of this process and the number of all rows, both int64 scalars.
    """
    rank = dist.get_rank() if world_size() > 1 else 0
    # A sum of vectors with one entry each gathers the counts.
    counts = torch.zeros(world_size(), dtype=torch.int64, device=device)
    counts[rank].fill_(num_rows)
    all_reduce_sum(counts)
    return counts[:rank].sum(), counts.sum()


def gather_rows(
    rows: Float[Tensor, "n d"], indices: Int[Tensor, " m"], span: tuple[Tensor, Tensor]
) -> Float[Tensor, "m d"]:
    """Fetches rows by their global index from the processes that hold them.

    Args:
        rows: The rows of this process.
        indices: Global indices, the same in every process, in [0, span[1]).
        span: The result of `row_span`.

    Returns:
        The rows, the same in every process.
    """
    # Each row is in one process, and all other processes add zeros to it. Unlike a broadcast from the owner, a sum
    # works without the host knowing the owner.
    if not rows.shape[0]:
        return all_reduce_sum(rows.new_zeros(indices.shape[0], rows.shape[1]))
    local = indices - span[0]
    inside = local.clamp(0, rows.shape[0] - 1)
    return all_reduce_sum(rows[inside].masked_fill((local != inside)[:, None], 0))
