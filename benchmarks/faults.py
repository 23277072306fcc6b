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
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.fault_runs import MARKS, PATIENCE, Bench, Trial, stage_at_work, wait_for
from benchmarks.report import RESULTS, Rows, exit_code, print_table, write_json
from vqgen.errors import ConfigError

PARTS = ("kills", "renames", "disk", "processes")

_STEP_OF_DISK = 10
"""Writes between two trials with a full disk."""


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
                hurt.append(stage_at_work(bench.root / name / "tiny"))
                process.kill()
                process.communicate()
                left -= 1
        difference = bench.go_on(name)
        for place, stage in enumerate(hurt):
            bench.note(Trial("kills", stage, -signal.SIGKILL, 0.0, difference if place == len(hurt) - 1 else ""))


def try_renames(bench: Bench, library: Path) -> None:
    """Kills the run after its first rename of a folder, then after the second, until a run has fewer."""
    _with_shim(bench, library, "renames", "FAULT_RENAME", 1, is_killed)


def try_disk(bench: Bench, library: Path) -> None:
    """Fills the disk at the 10th write, then at the 20th, until a run has fewer."""
    _with_shim(bench, library, "disk", "FAULT_WRITE", _STEP_OF_DISK, is_refused_plainly)


def try_processes(bench: Bench) -> None:
    """Kills the second of two processes in each stage. The first one should end, with a code that says so."""
    bench.undisturbed(2)
    for stage, mark in MARKS.items():
        if bench.is_over:
            return
        name = f"processes-{stage}"
        first, second = bench.start_two(name)
        wait_for(bench.root / name / "tiny" / mark, first)
        second.kill()
        second.communicate()
        began = time.monotonic()
        try:
            error = first.communicate(timeout=PATIENCE)[1]
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
        error = process.communicate(timeout=PATIENCE)[1]
        seconds = time.monotonic() - began
        if process.returncode == 0:
            shutil.rmtree(bench.root / name)
            return
        fault = judge(process.returncode, error) or bench.go_on(name)
        bench.note(Trial(part, str(number), process.returncode, seconds, fault))
        number += step


def is_killed(code: int, error: str) -> str:
    """Returns the fault of a command that should have been killed; empty if it was."""
    return "" if code == -signal.SIGKILL else f"ended with {code}: {error[-300:]}"


def is_refused_plainly(code: int, error: str) -> str:
    """Returns the fault of a command on a full disk; empty if it ended with code 2 and plain lines."""
    is_plain = code == 2 and "No space left" in error and "Traceback" not in error
    return "" if is_plain else f"ended with {code}: {error[-300:]}"


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


def _run(arguments: argparse.Namespace) -> int:
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


def main() -> int:
    """Runs the program and returns its exit code."""
    arguments = _parse()
    return exit_code(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
