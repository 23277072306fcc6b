"""Programs that benchmarks start are bounded in time, with everything that they started."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.programs import run_program

IGNORES_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "


def python(text, *words):
    return [sys.executable, "-c", text, *map(str, words)]


def is_alive(number):
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def ends(number):
    """Waits for the end of a killed process, which a busy machine may delay."""
    end = time.monotonic() + 30
    while is_alive(number) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_alive(number)


def number_in(path: Path):
    return int(path.read_text())


def test_output_and_code_are_returned():
    finished = run_program(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), 60)
    assert (finished.code, finished.is_late) == (3, False)
    assert set(finished.lines) == {"out", "err"}
    assert finished.seconds > 0


def test_work_on_the_cores_is_counted():
    finished = run_program(python("import time\nwhile time.process_time() < 0.2: pass"), 60)
    assert finished.cpu_seconds > 0.15
    assert run_program(python("import time; time.sleep(0.2)"), 60).cpu_seconds < finished.cpu_seconds


def test_late_program_may_save_after_sigterm(tmp_path):
    text = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit(5)
signal.signal(signal.SIGTERM, save)
time.sleep(60)
"""
    finished = run_program(python(text, tmp_path / "state"), 1.5, grace=60)
    assert (finished.code, finished.is_late) == (5, True)
    assert (tmp_path / "state").read_text() == "saved"


def test_program_that_ignores_sigterm_is_killed_with_its_children(tmp_path):
    child = IGNORES_SIGTERM + "time.sleep(60)"
    text = IGNORES_SIGTERM + (
        "import pathlib, subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); time.sleep(60)"
    )
    finished = run_program(python(text, tmp_path / "child"), 1.5, grace=0.1)
    assert (finished.code, finished.is_late) == (-9, True)
    assert "deaf" in finished.lines
    assert ends(number_in(tmp_path / "child"))


def test_children_of_a_finished_program_are_killed(tmp_path):
    text = (
        "import pathlib, subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))"
    )
    assert run_program(python(text, tmp_path / "child"), 60).code == 0
    assert ends(number_in(tmp_path / "child"))


def test_interrupt_ends_the_program(tmp_path, monkeypatch):
    wait = subprocess.Popen.wait
    calls = []

    def interrupted(self, timeout=None):
        calls.append(self.pid)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program(python("import time; time.sleep(60)"), 60)
    assert ends(calls[0])
