import pytest
import torch
from process_group import run_processes
from torch import distributed

from vqgen.errors import DataError, Interrupted
from vqgen.runtime.collective import (
    Processes,
    all_reduce_max,
    all_reduce_sum,
    gather_objects,
    gather_rows,
    in_all,
    is_joined,
    on_main,
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
        "is_joined": is_joined(),
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
        assert result["is_joined"]  # a process that a launcher started alone, too
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
    assert not is_joined()
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


class Unreadable(Exception):
    """Its pickle can be written and not read again: it has two arguments and passes on one."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{text} {number}")


FAILURES = [
    DataError("broken"), OSError(28, "No space left"), ValueError("text"), KeyError("name"), AssertionError("a fault"),
    MemoryError(), Unreadable(3, "unreadable"), Interrupted(15), KeyboardInterrupt(), SystemExit(3),
]  # fmt: skip


def failures_of(run, *arguments):
    """Calls `run` with a function that raises each of the failures, and returns their types and texts."""
    found = []
    for failure in FAILURES:
        if run is in_all and not isinstance(failure, Exception):
            continue  # signals reach all processes

        def fail(failure=failure):
            if distributed.get_rank() in arguments:
                raise failure

        try:
            found.append(run(fail))
        except BaseException as error:
            found.append((type(error).__name__, str(error)))
    return found


def outcomes():
    rank = distributed.get_rank()
    found = {"result": on_main(lambda: f"by {rank}"), "on_main": failures_of(on_main, 0)}
    found |= {"in_all": failures_of(in_all, 0, 1), "in_last": failures_of(in_all, 1), "none": in_all(lambda: None)}
    try:
        on_main(lambda: lambda: rank)
    except Exception as error:
        found["without pickle"] = "pickle" in str(error)
    return found | {"after": on_main(lambda: rank)}


def test_every_outcome_of_one_process_reaches_the_others():
    main, other = run_processes(2, outcomes)
    of_itself = [(type(error).__name__, str(error)) for error in FAILURES]
    assert main["result"] == other["result"] == "by 0"
    assert main["on_main"] == of_itself
    for found, expected in (
        (other["on_main"], of_itself),
        *((each["in_last"], of_itself[:7]) for each in (main, other)),
    ):
        assert found[:6] == expected[:6]
        assert found[6][0] == "RuntimeError" and found[6][1].endswith("Unreadable: unreadable 3")
        assert found[7:] == expected[7:]
    assert main["in_all"] == other["in_all"]
    assert main["none"] is other["none"] is None
    assert main["without pickle"] and other["without pickle"]
    assert main["after"] == other["after"] == 0


def test_only_process_raises_its_own_errors():
    error = KeyError("name")

    def fail():
        raise error

    for run in (on_main, in_all):
        with pytest.raises(KeyError) as caught:
            run(fail)
        assert caught.value is error
    assert on_main(lambda: 3) == 3
    assert in_all(lambda: 3) is None


@pytest.mark.parametrize("count", [0, 1, 7, 12])
@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_shares_are_contiguous_and_differ_by_at_most_one(count, world_size):
    shares = [Processes(rank, world_size, torch.device("cpu")).share(count) for rank in range(world_size)]
    assert [index for share in shares for index in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
