"""Sums and offsets over the processes of a run; with one process they do nothing.

Legend: `n` rows held by this process, `d` their dimensions.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sums `tensor` in place over all processes and returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_max(tensor: Tensor) -> Tensor:
    """Takes the largest `tensor` of all processes in place and returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def row_span(num_rows: int, device: torch.device) -> tuple[int, int]:
    """Where this process's rows lie when the rows of all processes are put in a line, in order of rank.

    Args:
        num_rows: Rows of this process.
        device: Where the processes exchange their counts.

    Returns:
        The global index of this process's first row, and the number of all rows.
    """
    if world_size() == 1:
        return 0, num_rows
    counts = torch.zeros(world_size(), dtype=torch.int64, device=device)
    counts[dist.get_rank()] = num_rows
    dist.all_reduce(counts)
    return int(counts[: dist.get_rank()].sum()), int(counts.sum())


def gather_rows(rows: Float[Tensor, "n d"], indices: Int[Tensor, " k"], span: tuple[int, int]) -> Float[Tensor, "k d"]:
    """Fetches rows by their global index: every process receives the same rows, whoever holds them.

    Args:
        rows: The rows of this process.
        indices: Global indices, the same on every process, in [0, span[1]).
        span: What `row_span` returned.
    """
    local = indices - span[0]
    held = (local >= 0) & (local < rows.shape[0])
    gathered = rows.new_zeros(indices.shape[0], rows.shape[1])
    gathered[held] = rows[local[held]]
    return all_reduce_sum(gathered)
