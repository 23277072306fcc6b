"""The runs that `benchmarks.faults` hurts: a recipe of all stages, its undisturbed run, and the comparison with it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import tomli_w

from vqgen.errors import ConfigError

PATIENCE = 300.0
"""Seconds that an undisturbed command may take."""

MARKS = {
    "vqvae": "vqvae/metrics.jsonl", "codes": "codes/train-00000.safetensors", "prior-top": "prior-top/metrics.jsonl",
    "prior-bottom": "prior-bottom/metrics.jsonl", "samples": "samples/stage.json",
}  # fmt: skip
"""Stage -> the first file that it writes."""


@dataclass(frozen=True)
class Trial:
    """One fault and its consequences.

    Attributes:
        part: One of `PARTS`.
        moment: The place of the fault: a stage, or the number of the write or rename.
        code: Exit code of the disturbed command; negative for a signal.
        seconds: Time from the fault to the end of the command.
        fault: The reason why the trial is not good; empty if it is.
    """

    part: str
    moment: str
    code: int
    seconds: float
    fault: str


@dataclass
class Bench:
    """The recipe, the undisturbed runs, and the trials so far.

    Attributes:
        root: Folder of all runs.
        end: Moment after which no trial begins, on the clock of `time.monotonic`.
        trials: The trials so far.
        expected: Number of processes -> file -> SHA-256 of the undisturbed run.
        seconds: Duration of the undisturbed run of one process.
    """

    root: Path
    end: float
    trials: list[Trial] = field(default_factory=list)
    expected: dict[int, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        (self.root / "tiny.toml").write_text(tomli_w.dumps(_document()))

    @property
    def is_over(self) -> bool:
        """True if the time is over."""
        return time.monotonic() > self.end

    def start(self, name: str, **variables: str) -> subprocess.Popen[str]:
        """Starts the run in the folder of this name."""
        words = [sys.executable, "-m", "vqgen", "run", self.root / "tiny.toml", "--checkpoints", self.root / name]
        return subprocess.Popen(
            [str(word) for word in words], env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start_two(self, name: str) -> list[subprocess.Popen[str]]:
        """Starts the run in two processes, without a launcher that would end the second for the first."""
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        return [self.start(name, **common, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]

    def undisturbed(self, processes: int) -> None:
        """Makes the run that all others have to equal."""
        began = time.monotonic()
        name = f"whole-{processes}"
        started = [self.start(name)] if processes == 1 else self.start_two(name)
        for process in started:
            error = process.communicate(timeout=PATIENCE)[1]
            if process.returncode != 0:
                raise ConfigError(f"the undisturbed run should end with code 0, found {process.returncode}:\n{error}")
        self.expected[processes] = _results(self.root / name / "tiny")
        if processes == 1:
            self.seconds = time.monotonic() - began

    def go_on(self, name: str, processes: int = 1) -> str:
        """Starts the run again, compares its results, and removes it.

        Returns:
            The difference; empty if there is none.
        """
        started = [self.start(name)] if processes == 1 else self.start_two(name)
        errors = [process.communicate(timeout=PATIENCE)[1] for process in started]
        codes = [process.returncode for process in started]
        found = _results(self.root / name / "tiny")
        if any(codes):
            return f"the next start ended with {codes}: {' '.join(errors).strip()[-300:]}"
        wrong = [path for path, digest in self.expected[processes].items() if found.get(path) != digest]
        wrong += sorted(found.keys() - self.expected[processes].keys())
        shutil.rmtree(self.root / name)
        return f"other files than undisturbed: {', '.join(wrong[:5])}" if wrong else ""

    def note(self, trial: Trial) -> None:
        """Adds a trial and prints it if it is not good."""
        self.trials.append(trial)
        if trial.fault:
            print(f"{trial.part} at {trial.moment}: {trial.fault}", flush=True)


def stage_at_work(run: Path) -> str:
    """Returns the last stage that has written something."""
    begun = [stage for stage, mark in MARKS.items() if (run / mark).exists()]
    return begun[-1] if begun else "start"


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Waits until a file exists, as long as the process lives."""
    end = time.monotonic() + PATIENCE
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def _document() -> dict[str, object]:
    """Builds a recipe whose every stage takes some seconds."""
    train = {"batch_size": 16, "validate_every": 40, "save_every": 5, "log_every": 4}
    prior = {"layers": 1, "channels": 8, "attention_heads": 2, "conditioning_layers": 1,
             "train": {**train, "steps": 120}}  # fmt: skip
    return {
        "name": "tiny",
        "data": {"source": "digits", "image_size": 16, "channels": 1},
        "vqvae": {"downsample": [8, 4], "codebook_size": 16, "embedding_dim": 4, "channels": 8, "residual_channels": 4,
                  "residual_layers": 1, "train": {**train, "steps": 150}},
        "priors": [prior, prior],
        "generate": {"images_per_label": 30},
    }  # fmt: skip


def _results(run: Path) -> dict[str, str]:
    """Returns file -> SHA-256 for all results of a run: weights, codes, pictures, and the lines of its trainings."""
    patterns = ("*/model/*", "pipeline/**/*.safetensors", "codes/*.safetensors", "samples/**/*.png", "*/metrics.jsonl")
    paths = sorted(path for pattern in patterns for path in run.glob(pattern))
    leftovers = [path for path in run.rglob("*") if ".tmp" in path.name or path.name.endswith(".old")]
    return {path.relative_to(run).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths} | {
        path.relative_to(run).as_posix(): "left over" for path in leftovers
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
