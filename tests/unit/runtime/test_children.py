import os
import signal
import subprocess
import sys
import time
import warnings
from itertools import pairwise

import psutil
import pytest
import stand_in_jobs
from stand_in_jobs import (
    end_by,
    end_with,
    fail,
    hang,
    note_environment,
    refuse,
    refuse_unportably,
    talk,
    train,
)

from vqgen.errors import DataError, Interrupted, ProcessError, VQGenWarning
from vqgen.runtime import fresh_python
from vqgen.runtime.children import Job, Needs, Room, run_jobs
from vqgen.runtime.progress import SharedDisplay

SECONDS = 60


@pytest.fixture(autouse=True)
def no_child_is_left():
    before = set(psutil.Process().children())  # those of other tests, as the fork server of a loader
    yield
    assert set(psutil.Process().children()) <= before


def run(*jobs, room=None):
    run_jobs(jobs, room or Room(len(jobs)), remedy="run it again")


def wait_for(process, *paths):
    """Waits until files exist, while the process lives."""
    end = time.monotonic() + SECONDS
    while not all(path.exists() for path in paths):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, paths
        time.sleep(0.01)


# room


@pytest.mark.parametrize(
    ("room", "fits"),
    [
        (Room(3), True),
        (Room(2), False),
        (Room(3, cores=6), True),
        (Room(3, cores=5), False),
        (Room(3, memory=60), True),
        (Room(3, memory=59), False),
        (Room(3, places=({"A": "1"}, {"A": "2"}, {"A": "3"})), True),
        (Room(3, places=({"A": "1"}, {"A": "2"})), False),
    ],
)
def test_jobs_fit_if_their_number_cores_memory_and_places_do(room, fits):
    assert room.fits([Needs(1, 10), Needs(2, 20), Needs(3, 30)]) == fits


def test_job_alone_always_fits():
    assert Room(1, cores=1, memory=1).fits([Needs(8, 10**12)])
    assert Room(1, cores=1, memory=1).fits([])


def times(path):
    _, begin, end = path.read_text().split("\n")
    return float(begin), float(end)


def test_job_starts_as_soon_as_there_is_room(tmp_path):
    paths = [tmp_path / str(number) for number in range(3)]
    jobs = [Job(path.name, note_environment, (path, "HOME", 0.05)) for path in paths]
    run(*jobs, room=Room(1))
    found = [times(path) for path in paths]
    assert found == sorted(found)  # in the order of the jobs
    assert all(end <= begin for (_, end), (begin, _) in pairwise(found))  # one at a time


def test_later_job_that_fits_does_not_wait_for_an_earlier_one_that_does_not(tmp_path):
    order = ["large", "other", "small"]
    needs = {"large": Needs(memory=6), "other": Needs(memory=6), "small": Needs(memory=1)}
    jobs = [Job(name, note_environment, (tmp_path / name, "HOME", 0.5), needs[name]) for name in order]
    run(*jobs, room=Room(3, memory=10))
    large, other, small = (times(tmp_path / name) for name in order)
    assert large[1] <= other[0]
    assert small[0] < other[0]


def test_each_place_has_one_job_at_a_time(tmp_path):
    places = tuple({"CUDA_VISIBLE_DEVICES": name} for name in ("2", "GPU-7"))
    paths = [tmp_path / str(number) for number in range(4)]
    jobs = [Job(path.name, note_environment, (path, "CUDA_VISIBLE_DEVICES", 0.2)) for path in paths]
    run(*jobs, room=Room(4, places=places))
    by_place = {}
    for path in paths:
        by_place.setdefault(path.read_text().split("\n")[0], []).append(times(path))
    assert by_place.keys() <= {"2", "GPU-7"}
    assert len(by_place) == 2
    for spans in map(sorted, by_place.values()):
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


# one display


def test_text_of_all_children_appears_once_and_whole(capfd):
    with pytest.warns(VQGenWarning) as caught:
        run(Job("a", talk, ("a",)), Job("b", talk, ("b",)))
    captured = capfd.readouterr()
    for name in "ab":
        assert captured.out.count(f"{name} begins\n") == 1
        assert captured.out.splitlines().count(name) == 1
    assert captured.out.count("ends\n") == 2
    assert len(captured.out.splitlines()) == 6
    assert captured.err.count("print of a library") == 2
    assert sorted(str(each.message) for each in caught) == ["a is old", "b is old"]


def test_terminal_shows_a_bar_for_each_child(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VQGenWarning)
        run(Job("one", talk, ("prior-top", 5)), Job("other", talk, ("prior-bottom", 7)))
    shown = capsys.readouterr().err
    assert "prior-top: 100%" in shown
    assert "5/5" in shown
    assert "prior-bottom: 100%" in shown
    assert "7/7" in shown
    assert "loss 0.25" in shown


# errors


def test_error_of_one_child_is_raised_after_the_others_have_saved_and_their_bars_have_ended(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(SharedDisplay, "close", lambda display, sender: closed.append(sender))
    late = Job("late", refuse, ("cannot read image 'x'", tmp_path / "steps"))
    with pytest.raises(DataError, match=r"^cannot read image 'x'$") as caught:
        run(Job("training", train, (tmp_path,)), late)
    assert not caught.value.alike  # its attributes arrive, too
    assert (tmp_path / "saved").exists()
    assert sorted(closed) == ["late", "training"]


def test_waiting_jobs_do_not_start_after_an_error(tmp_path):
    with pytest.raises(DataError):
        run(Job("first", refuse, ("x",)), Job("second", note_environment, (tmp_path / "x", "HOME")), room=Room(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        (fail, (), r"^stage: failed in its process; run it again\n\nTraceback .*KeyError: 'a fault'$"),
        (refuse_unportably, (), r"^stage: failed in its process; .*DataError: has no pickle$"),
        (end_by, (signal.SIGKILL,), r"^stage: its process was ended by signal 9 \(Killed\), .*memory.*; run it"),
        (end_by, (signal.SIGSEGV,), r"^stage: its process was ended by signal 11 \(Segmentation fault\); run it"),
        (end_with, (3,), r"^stage: its process ended early with exit code 3; run it again$"),
        (end_with, (0,), r"^stage: its process ended early with exit code 0; run it again$"),
    ],
)  # fmt: skip
def test_crash_is_reported_with_the_name_the_cause_and_the_remedy(job, arguments, message):
    with pytest.raises(ProcessError, match=f"(?s){message}"):
        run(Job("stage", job, arguments))


class _Missing:
    def __reduce__(self):
        return __import__, ("gone",)


def test_job_that_cannot_be_found_is_a_crash_with_its_traceback():
    with pytest.raises(ProcessError, match=r"(?s)stage: failed in its process.*No module named 'gone'"):
        run(Job("stage", print, (_Missing(),)))


def test_job_that_cannot_be_sent_is_a_crash_with_its_traceback():
    with pytest.raises(ProcessError, match=r"(?s)stage: failed in its process.*pickle"):
        run(Job("stage", print, (lambda: None,)))


def test_program_that_does_not_start_is_a_crash(monkeypatch):
    monkeypatch.setattr(fresh_python, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(ProcessError, match="exit code 7"):
        run(Job("stage", fail))


# signals, in a program of their own


def start(folder, *names):
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, stand_in_jobs.__file__, str(folder), *names]
    process = subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(process, *(folder / str(number) / "steps" for number in range(len(names))))
    return process, psutil.Process(process.pid).children()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("reaches_all", [True, False])
def test_signal_saves_all_work_whether_it_reaches_the_parent_or_all(tmp_path, number, code, reaches_all):
    # A terminal and a cluster signal all processes. The parent passes a signal on, and that must not count as a second:
    # it comes within the step that is slow.
    process, started = start(tmp_path, "train", "train slowly")
    for child in started if reaches_all else []:
        child.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (code, "", "")
    for each in ("0", "1"):
        assert (tmp_path / each / "saved").read_text() == (tmp_path / each / "steps").read_text()


def test_second_signal_kills_what_does_not_stop(tmp_path):
    process, started = start(tmp_path, "hang", "train")
    process.send_signal(signal.SIGINT)
    wait_for(process, tmp_path / "1" / "saved")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (130, "")
    assert not psutil.wait_procs(started, SECONDS)[1]
    assert not (tmp_path / "0" / "over").exists()


def test_killed_parent_leaves_no_child(tmp_path):
    process, started = start(tmp_path, "train", "train")
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(started, SECONDS)[1]
    for each in ("0", "1"):
        assert (tmp_path / each / "saved").exists()


def test_child_that_has_not_begun_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(fresh_python, "_PROGRAM", "import time; time.sleep(60)")
    begin = time.monotonic()

    class SignalledRoom(Room):
        def fits(self, jobs):
            if time.monotonic() - begin > 0.3:
                raise Interrupted(signal.SIGTERM)
            return super().fits(jobs)

    with pytest.raises(Interrupted):
        run(
            Job("a", hang, (tmp_path,)), Job("b", hang, (tmp_path,)), Job("c", hang, (tmp_path,)), room=SignalledRoom(2)
        )
    assert time.monotonic() - begin < 30
