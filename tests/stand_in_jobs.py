"""Jobs that children do in tests. They import no torch, so that a child starts in a moment."""

import os
import sys
import time
import warnings
from pathlib import Path

from vqgen.errors import DataError, Interrupted, VQGenWarning
from vqgen.runtime.children import Job, Room, run_jobs
from vqgen.runtime.progress import ProgressBar
from vqgen.runtime.signals import PendingSignal, raising_signals

_LONG = 60.0
"""Seconds of a job that a test stops."""


def talk(name: str, steps: int = 5) -> None:
    """Prints, warns and shows progress; a library prints, too."""
    print(f"{name} begins")
    os.write(1, b"print of a library\n")
    with ProgressBar(steps, name, "step", done=1) as bar:
        for step in range(1, steps):
            bar.note({"loss": 1 / step})
            bar.update()
    warnings.warn(f"{name} is old", VQGenWarning, stacklevel=1)
    warnings.warn("not for users", UserWarning, stacklevel=1)
    print(f"{name}\nends", end="")


def note_environment(path: Path, name: str, seconds: float = 0.0) -> None:
    """Writes an environment variable, the time of the begin and the time of the end, a line for each."""
    begin = time.monotonic()
    time.sleep(seconds)
    path.write_text(f"{os.environ.get(name, '')}\n{begin}\n{time.monotonic()}")


def refuse(text: str, after: Path | None = None) -> None:
    """Raises an error of the user, maybe after a file exists."""
    while after is not None and not after.exists():
        time.sleep(0.01)
    error = DataError(text)
    error.alike = False
    raise error


def refuse_unportably() -> None:
    """Raises an error of the user that has no pickle."""
    error = DataError("has no pickle")
    error.reason = lambda: None  # type: ignore[attr-defined]
    raise error


def fail() -> None:
    """Raises an error of the program."""
    raise KeyError("a fault")


def end_by(number: int) -> None:
    """Ends the process by a signal."""
    os.kill(os.getpid(), number)


def end_with(code: int) -> None:
    """Ends the process with an exit code."""
    os._exit(code)


def train(folder: Path, seconds: float = 0.01) -> None:
    """Does steps of some seconds, as a training does: a signal ends it after a step, and their number is saved.

    `folder/steps` says that it has begun, and `folder/saved` that it has saved.
    """
    with PendingSignal() as pending:
        for step in range(int(_LONG / seconds)):
            (folder / "steps").write_text(str(step + 1))
            time.sleep(seconds)
            if pending.number:
                (folder / "saved").write_text(str(step + 1))
                raise Interrupted(pending.number)


def hang(folder: Path) -> None:
    """Waits, whatever signal comes. `folder/over` says that nobody ended it."""
    with PendingSignal():
        (folder / "steps").write_text("1")
        time.sleep(_LONG)
        (folder / "over").touch()


def lead(folder: Path, names: list[str]) -> int:
    """Trains or hangs in children, as a program of its own that a test can signal and kill. Returns its exit code."""
    jobs = []
    for number, name in enumerate(names):
        (folder / str(number)).mkdir()
        function, *arguments = {"train": (train,), "train slowly": (train, 0.5), "hang": (hang,)}[name]
        jobs.append(Job(str(number), function, (folder / str(number), *arguments)))
    try:
        with raising_signals():
            run_jobs(jobs, Room(len(jobs)), remedy="run again")
    except Interrupted as stop:
        return 128 + stop.signal_number
    return 0


if __name__ == "__main__":
    import stand_in_jobs  # children import the jobs from there: the main module of this program is not theirs

    sys.exit(stand_in_jobs.lead(Path(sys.argv[1]), sys.argv[2:]))
