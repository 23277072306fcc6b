"""Hurts runs on purpose, starts the same command again, and compares the result with that of an undisturbed run.

    python -m benchmarks.faults [--only PART ...] [--kills 100] [--minutes 30] [--json FILE]

| part | fault |
|---|---|
| kills | SIGKILL at random moments, so that all stages are hit |
| renames | SIGKILL right after each rename of a folder, so between the two renames of a folder that is replaced |
| disk | the disk is full from the 10th, 20th, 30th ... write on |
| processes | one of two processes is killed in each stage; the other one has to end |

A trial is good if the disturbed command ends as it should (a full disk: code 2 and plain lines), and if the next start
ends well with the same files as the undisturbed run. The program ends with code 1 if a trial is not good. `renames` and
`disk` need a C compiler, because the faults come from a library that is loaded before libc.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import tomli_w

from benchmarks.report import RESULTS, Rows, exit_code, print_table, write_json
from vqgen.errors import ConfigError

PARTS = ("kills", "renames", "disk", "processes")

_PATIENCE = 300.0
"""Seconds that an undisturbed command may take."""

_STEP_OF_DISK = 10
"""Writes between two trials with a full disk."""

_MARKS = {
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
            error = process.communicate(timeout=_PATIENCE)[1]
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
        errors = [process.communicate(timeout=_PATIENCE)[1] for process in started]
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


def try_kills(bench: Bench, kills: int) -> None:
    """Kills runs at random moments. A killed run is started again at once, and killed again, until it completes."""
    moments = random.Random(0)
    number = 0
    left = kills
    while left > 0 and not bench.is_over:
        name = f"kills-{number}"
        number += 1
        hurt: list[str] = []
        # Each life of a run is cut once in its undisturbed time, so a run dies some times before it completes.
        while left > 0:
            process = bench.start(name)
            try:
                process.communicate(timeout=moments.uniform(0.2, 0.9) * bench.seconds)
                break
            except subprocess.TimeoutExpired:
                hurt.append(_stage_at_work(bench.root / name / "tiny"))
                process.kill()
                process.communicate()
                left -= 1
        difference = bench.go_on(name)
        for place, stage in enumerate(hurt):
            bench.note(Trial("kills", stage, -signal.SIGKILL, 0.0, difference if place == len(hurt) - 1 else ""))


def try_renames(bench: Bench, library: Path) -> None:
    """Kills the run after its first rename of a folder, then after the second, until a run has fewer."""
    _with_shim(bench, library, "renames", "FAULT_RENAME", 1, _is_killed)


def try_disk(bench: Bench, library: Path) -> None:
    """Fills the disk at the 10th write, then at the 20th, until a run has fewer."""
    _with_shim(bench, library, "disk", "FAULT_WRITE", _STEP_OF_DISK, _is_refused_plainly)


def try_processes(bench: Bench) -> None:
    """Kills the second of two processes in each stage. The first one should end, with a code that says so."""
    bench.undisturbed(2)
    for stage, mark in _MARKS.items():
        if bench.is_over:
            return
        name = f"processes-{stage}"
        first, second = bench.start_two(name)
        _wait_for(bench.root / name / "tiny" / mark, first)
        second.kill()
        second.communicate()
        began = time.monotonic()
        try:
            error = first.communicate(timeout=_PATIENCE)[1]
            fault = f"a traceback: {error[-300:]}" if "Traceback" in error else ""
        except subprocess.TimeoutExpired:
            first.kill()
            first.communicate()
            fault = "the other process did not end"
        seconds = time.monotonic() - began
        bench.note(Trial("processes", stage, first.returncode, seconds, fault or bench.go_on(name, 2)))


def rows_of(trials: list[Trial]) -> Rows:
    """Makes a row for each part and, for kills and processes, each stage."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        place = trial.moment if trial.part in ("kills", "processes") else "all"
        groups.setdefault((trial.part, place), []).append(trial)
    return [
        {"part": part, "moment": place, "trials": len(group), "good": sum(not trial.fault for trial in group),
         "slowest end (s)": max(trial.seconds for trial in group)}
        for (part, place), group in groups.items()
    ]  # fmt: skip


def _with_shim(
    bench: Bench, library: Path, part: str, variable: str, step: int, judge: Callable[[int, str], str]
) -> None:
    number = step
    while not bench.is_over:
        name = f"{part}-{number}"
        shim = {"LD_PRELOAD": str(library), "FAULT_FOLDER": str(bench.root / name), variable: str(number)}
        began = time.monotonic()
        process = bench.start(name, **shim)
        error = process.communicate(timeout=_PATIENCE)[1]
        seconds = time.monotonic() - began
        if process.returncode == 0:
            shutil.rmtree(bench.root / name)
            return
        fault = judge(process.returncode, error) or bench.go_on(name)
        bench.note(Trial(part, str(number), process.returncode, seconds, fault))
        number += step


def _is_killed(code: int, error: str) -> str:
    return "" if code == -signal.SIGKILL else f"ended with {code}: {error[-300:]}"


def _is_refused_plainly(code: int, error: str) -> str:
    is_plain = code == 2 and "No space left" in error and "Traceback" not in error
    return "" if is_plain else f"ended with {code}: {error[-300:]}"


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


def _stage_at_work(run: Path) -> str:
    """Returns the last stage that has written something."""
    begun = [stage for stage, mark in _MARKS.items() if (run / mark).exists()]
    return begun[-1] if begun else "start"


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _PATIENCE
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def _shim() -> Iterator[Path | None]:
    """Compiles the library of faults; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        if compiler is not None:
            source = Path(__file__).with_suffix(".c")
            subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
        yield library if compiler is not None else None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART",
                        help=f"any of {', '.join(PARTS)} (default: all)")  # fmt: skip
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs of the first part (default: 100)")
    parser.add_argument("--minutes", type=float, default=30, help="no trial begins after this time (default: 30)")
    parser.add_argument("--json", type=Path, default=RESULTS / "faults.json", metavar="FILE", help="the results")
    return parser.parse_args()


def _run() -> int:
    arguments = _parse()
    if arguments.kills < 1 or not arguments.minutes > 0:
        raise ConfigError("--kills should be at least 1 and --minutes above 0")
    with tempfile.TemporaryDirectory() as folder, _shim() as library:
        bench = Bench(Path(folder), time.monotonic() + 60 * arguments.minutes)
        bench.undisturbed(1)
        parts: dict[str, Callable[[], None]] = {"kills": lambda: try_kills(bench, arguments.kills)}
        if library is None:
            print("no C compiler here, so the parts renames and disk are left out")
        else:
            parts |= {"renames": lambda: try_renames(bench, library), "disk": lambda: try_disk(bench, library)}
        parts["processes"] = lambda: try_processes(bench)
        for name, act in parts.items():
            if name in arguments.only:
                act()
                content = {"rows": rows_of(bench.trials), "trials": [asdict(trial) for trial in bench.trials]}
                write_json(arguments.json, content, quiet=True)
    if not bench.trials:
        return 1
    print_table(rows_of(bench.trials))
    return int(any(trial.fault for trial in bench.trials))


if __name__ == "__main__":
    sys.exit(exit_code(_run))
