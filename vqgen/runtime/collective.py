"""Sums and gathers over the processes of a run. With one process they return their input.

Legend: `n` rows of this process, `d` dimensions of a row, `m` rows to fetch.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

Item = TypeVar("Item")


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
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


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
