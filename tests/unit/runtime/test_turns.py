import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import distributed

from vqgen.runtime.turns import in_turn, is_first, processes_here, shared_out

# Python 3.12 and later warn of a fork in a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def run(folder: Path, world_size: int, work: Callable[[int], object]) -> list[object]:
    """Runs `work(rank)` in the processes of one group. Returns the result or the error of each."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def process(rank: int) -> None:
        os.environ["LOCAL_RANK"] = str(rank)
        os.environ["LOCAL_WORLD_SIZE"] = str(world_size)
        distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world_size)
        try:
            answers.put((rank, work(rank)))
        except Exception as error:
            answers.put((rank, repr(error)))
        distributed.destroy_process_group()

    processes = [context.Process(target=process, args=(rank,)) for rank in range(world_size)]
    for one in processes:
        one.start()
    found = dict(answers.get() for _ in processes)
    for one in processes:
        one.join()
    return [found[rank] for rank in range(world_size)]


def test_single_process_does_all_work_itself() -> None:
    assert in_turn(lambda may_download: may_download) is True
    assert shared_out(lambda pieces: list(pieces), 3) == [0, 1, 2]
    assert is_first()
    assert processes_here() == 1


def test_error_in_a_single_process_is_raised() -> None:
    with pytest.raises(OSError, match="disk"):
        in_turn(lambda _: (_ for _ in ()).throw(OSError("disk")))


def test_first_process_downloads_and_the_others_find_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"

    def load(may_download: bool) -> tuple[bool, str]:
        if may_download:
            assert not file.exists()
            time.sleep(0.2)  # long enough for the others to look, if they did not wait
            file.write_text("here")
        return may_download, file.read_text()

    assert run(tmp_path, 3, lambda _: in_turn(load)) == [(True, "here"), (False, "here"), (False, "here")]


def test_error_in_the_first_process_keeps_no_other_waiting(tmp_path: Path) -> None:
    def load(may_download: bool) -> None:
        raise OSError("no network" if may_download else "no file")

    assert run(tmp_path, 2, lambda _: in_turn(load)) == ["OSError('no network')", "OSError('no file')"]


def test_shared_work_gives_all_results_to_all_processes(tmp_path: Path) -> None:
    def work(rank: int) -> object:
        done: list[int] = []
        results = shared_out(lambda pieces: done.extend(pieces) or [piece * 10 for piece in pieces], 7)
        return done, results, is_first(), processes_here()

    results = [piece * 10 for piece in range(7)]
    assert run(tmp_path, 2, work) == [([0, 1, 2], results, True, 2), ([3, 4, 5, 6], results, False, 2)]
