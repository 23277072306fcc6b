import pytest
import torch
from process_group import run_processes
from torch import distributed

from vqgen.runtime.collective import (
    Processes,
    all_reduce_max,
    all_reduce_sum,
    gather_objects,
    gather_rows,
    row_span,
    world_size,
)

ROWS = [0, 1, 4]
"""Rows of each process. One process has none."""


def work(count):
    rank = distributed.get_rank()
    sizes = ROWS[-count:]
    everything = torch.arange(3 * sum(sizes), dtype=torch.float64).view(-1, 3)
    begin = sum(sizes[:rank])
    rows = everything[begin : begin + sizes[rank]]
    span = row_span(len(rows), torch.device("cpu"))
    indices = torch.tensor([4, 0, 2, 2, 1])[: max(1, sum(sizes))] % sum(sizes)
    return {
        "world_size": world_size(),
        "span": (int(span[0]), int(span[1])),
        "gathered": gather_rows(rows, indices, span).tolist(),
        "expected": everything[indices].tolist(),
        "sum": all_reduce_sum(torch.tensor([1.0, float(rank)])).tolist(),
        "max": all_reduce_max(torch.tensor(10 * rank)).item(),
        "objects": gather_objects([str(rank)] * sizes[rank]),
        "objects of main": gather_objects([str(rank)] * sizes[rank], to_main_only=True),
    }


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_processes_receive_the_same_rows_sums_and_maxima(count):
    found = run_processes(count, work, count)
    for rank, result in enumerate(found):
        assert result["world_size"] == count
        assert result["span"] == (sum(ROWS[-count:][:rank]), sum(ROWS[-count:]))
        assert result["gathered"] == result["expected"]
        assert result["sum"] == [count, count * (count - 1) / 2]
        assert result["max"] == 10 * (count - 1)
        objects = [str(other) for other, size in enumerate(ROWS[-count:]) for _ in range(size)]
        assert result["objects"] == objects
        assert result["objects of main"] == (objects if rank == 0 else [])


def test_single_process_exchanges_nothing():
    tensor = torch.tensor([1.0, 2.0])
    rows = torch.randn(5, 3)
    assert world_size() == 1
    assert all_reduce_sum(tensor) is tensor
    assert all_reduce_max(tensor) is tensor
    assert tensor.tolist() == [1.0, 2.0]
    span = row_span(5, torch.device("cpu"))
    assert span == (0, 5)
    indices = torch.tensor([4, 0, 4])
    assert torch.equal(gather_rows(rows, indices, span), rows[indices])
    items = ["a", "b"]
    assert gather_objects(items) is items
    assert gather_objects(items, to_main_only=True) is items


@pytest.mark.parametrize("count", [0, 1, 7, 12])
@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_shares_are_contiguous_and_differ_by_at_most_one(count, world_size):
    shares = [Processes(rank, world_size, torch.device("cpu")).share(count) for rank in range(world_size)]
    assert [index for share in shares for index in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
