"""The programs that `benchmarks.busy` times, and the busy processes beside them, all bounded in time."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.programs import CHECKOUT, Finished, run_program
from vqgen.training.state import seconds_of_training

CHECKPOINT = CHECKOUT / "checkpoints" / "pretrained" / "digits"

_CHANGES = """
--data.augmented-copies 1 --vqvae.train.steps 100 --priors.0.train.steps 100 --priors.1.train.steps 60
--classifier.train.steps 60 --force
"""

SHORT = _CHANGES.split()
"""Overrides of the recipe digits for a run of about 20 seconds on two quiet cores."""

_STEPS = 100
"""Steps of the training whose step is timed."""

_LOOP = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
print("busy", flush=True)
while time.monotonic() < end:
    pass
"""


@dataclass(frozen=True)
class Program:
    """A program to time.

    Attributes:
        words: Fresh folder -> the program and its arguments. It may prepare the folder.
        seconds: Returns the time that counts from the folder; None for the time of the whole program.
    """

    words: Callable[[Path], Sequence[str]]
    seconds: Callable[[Path], float] | None = None


@dataclass(frozen=True)
class Sample:
    """One time of a program.

    Attributes:
        program: Its name.
        neighbours: Busy processes beside it.
        seconds: The time that counts.
        cores: Cores that it used on average: its time on all cores over its whole time.
    """

    program: str
    neighbours: int
    seconds: float
    cores: float


class OutOfTime(Exception):
    """The time of the benchmark is over."""


class ProgramFailed(Exception):
    """A program ended with an error."""


@dataclass(frozen=True)
class Clock:
    """The end of the benchmark, on the monotonic clock."""

    end: float

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.end - time.monotonic()

    def run(self, words: Sequence[str]) -> Finished:
        """Runs a program.

        Raises:
            OutOfTime: The time was over before the program ended.
            ProgramFailed: The program failed.
        """
        if self.left <= 0:
            raise OutOfTime
        finished = run_program(words, self.left)
        if finished.is_late:
            raise OutOfTime
        if finished.code != 0:
            raise ProgramFailed("\n".join([f"code {finished.code}: {' '.join(words[1:])}", *finished.lines]))
        return finished


@contextmanager
def busy_processes(count: int, seconds: float) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Runs busy processes during a block. They end by themselves after `seconds`, whatever happens to this program."""
    with ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", _LOOP, str(seconds)], stdout=subprocess.PIPE)
            stack.callback(_end, process)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is busy from here on
        yield processes


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def programs(work: Path, is_full: bool) -> dict[str, Program]:
    """Returns the programs by name.

    Args:
        work: A folder with the inputs that `prepare` made.
        is_full: True runs the whole recipe.
    """
    changes = [] if is_full else SHORT
    evaluated = ["--only", "reconstruction", "codes", "likelihood", "--quiet"]
    return {
        "run digits": Program(lambda folder: _vqgen("run", "digits", *changes, *_place(folder))),
        "train step": Program(partial(_train_prior, work), _seconds_of_a_step),
        "sample": Program(lambda folder: _vqgen("generate", CHECKPOINT, "--images-per-label", 10, "--quiet",
                                                "-o", folder)),
        "compress": Program(lambda folder: _vqgen("compress", CHECKPOINT, work / "pictures", "--quiet", "-o", folder)),
        "evaluate": Program(lambda folder: _vqgen("evaluate", CHECKPOINT, *evaluated)),
    }  # fmt: skip


def _vqgen(*words: object) -> list[str]:
    return [sys.executable, "-m", "vqgen", *map(str, words)]


def _place(folder: Path) -> list[str]:
    return ["--checkpoints", str(folder), "--run-name", "run", "--device", "cpu", "--quiet"]


def _train_prior(work: Path, folder: Path) -> list[str]:
    """Returns the training of the bottom prior, on a copy of the codes."""
    shutil.copytree(work / "run", folder / "run")
    changes = [*SHORT, "--priors.1.train.steps", str(_STEPS), "--priors.1.train.validate-every", str(_STEPS)]
    return _vqgen("train-prior", "digits", *changes, "--level", "bottom", *_place(folder))


def _seconds_of_a_step(folder: Path) -> float:
    seconds = seconds_of_training(folder / "run" / "prior-bottom")
    assert seconds is not None
    return seconds / _STEPS


def prepare(work: Path, names: Sequence[str], clock: Clock) -> None:
    """Makes the inputs of the programs: pictures of 16 to 64 pixels, and a run with codes.

    Raises:
        OutOfTime: The time is over.
        ProgramFailed: A program failed.
    """
    (work / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number, side in enumerate(np.linspace(16, 64, 12).astype(int)):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(work / "pictures" / f"{number:02d}.png")
    if "train step" in names:
        for command in ("train-vqvae", "extract-codes"):
            clock.run(_vqgen(command, "digits", *SHORT, *_place(work)))


def measure(name: str, program: Program, neighbours: int, clock: Clock) -> Sample:
    """Times a program once.

    Raises:
        OutOfTime: The time was over before it ended.
        ProgramFailed: It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = program.words(Path(folder))
        with busy_processes(neighbours, max(0.0, clock.left) + 10):
            finished = clock.run(words)
        seconds = finished.seconds if program.seconds is None else program.seconds(Path(folder))
    return Sample(name, neighbours, seconds, finished.cpu_seconds / finished.seconds)
