"""Times the programs that a person runs on a quiet machine, and beside one and two busy processes.

    python -m benchmarks.busy [--only PROGRAM ...] [--repeats 3] [--minutes 15] [--full] [--json FILE]

A busy process is an endless loop in one thread. Each round runs every program quiet, beside one and beside two of
them, in turn; the median of the rounds counts. Times are of whole programs, with their start; that of the train step is
the time that the training recorded, for one step. `run digits` is a short run of all stages (--full: the whole recipe).

The scheduler gives every runnable thread the same share of the cores, so beside busy processes a program is slower even
if it does nothing wrong. `explained` is that ratio, from the cores that the program used while the machine was quiet.
`excess` is the measured ratio over it: 1 if the program loses only its share. This program ends with code 1 if an
excess is above 1.3. Let nothing else run beside it.

When the time is over, the running program is stopped, and everything that was not reached is named.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.busy_programs import Clock, OutOfTime, Program, ProgramFailed, Sample, measure, prepare, programs
from benchmarks.report import RESULTS, Rows, exit_code, print_table, write_json
from vqgen.errors import ConfigError
from vqgen.runtime.cores import available_cores

MOST_EXCESS = 1.3
"""Largest ratio of a program's time to the time that its share of the cores explains."""

NEIGHBOURS = (0, 1, 2)
"""Numbers of busy processes."""

_LOAD = os.getloadavg() if hasattr(os, "getloadavg") else None
"""Load of the machine before the first program: above 0 it was not quiet."""


def explained_ratio(wanted: float, busy: int, cores: int) -> float:
    """Computes the slowdown of a program that its share of the cores explains.

    A fair scheduler gives each of n runnable threads min(1, cores / n) of a core, so work takes max(1, n / cores) times
    as long as on a core of its own. Alone n is `wanted`, and beside others it is `wanted + busy`. The slowdown is the
    ratio of the two times.

    Args:
        wanted: Threads of the program that want to run at the same time, on average; at least 0.
        busy: Threads of others that always want to run.
        cores: Cores of the machine.
    """
    alone = max(1.0, wanted / cores)
    beside = max(1.0, (wanted + busy) / cores)
    return beside / alone


def rows_of(samples: Sequence[Sample], names: Sequence[str], cores: int) -> Rows:
    """Makes a row for each program and number of busy processes, with empty columns for what was not reached."""
    rows = []
    for name, neighbours in product(names, NEIGHBOURS):
        quiet, beside = (
            [sample for sample in samples if (sample.program, sample.neighbours) == (name, count)]
            for count in (0, neighbours)
        )
        row: dict[str, Any] = {"program": name, "busy": neighbours, "repeats": len(beside)}
        row |= dict.fromkeys(("seconds", "cores", "ratio", "explained", "excess"))
        if beside:
            row |= {"seconds": median(sample.seconds for sample in beside),
                    "cores": median(sample.cores for sample in beside)}  # fmt: skip
        if beside and quiet:
            wanted = median(sample.cores for sample in quiet)
            ratio = row["seconds"] / median(sample.seconds for sample in quiet)
            explained = explained_ratio(wanted, neighbours, cores)
            row |= {"ratio": ratio, "explained": explained, "excess": ratio / explained}
        rows.append(row)
    return rows


def verdict(rows: Rows) -> str:
    """Names the programs that are slower than their share of the cores explains; empty if there is none."""
    slow = [row for row in rows if row["excess"] is not None and row["excess"] > MOST_EXCESS]
    return "; ".join(f"{row['program']} beside {row['busy']}: {row['excess']:.2f} times" for row in slow)


@dataclass
class Record:
    """All samples so far, saved after each.

    Attributes:
        path: The JSON file.
        names: Names of the programs.
        repeats: Wanted rounds.
        samples: The samples.
        failed: Name of a program that failed -> its last lines.
    """

    path: Path
    names: Sequence[str]
    repeats: int
    samples: list[Sample] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> Rows:
        """The rows of the table."""
        return rows_of(self.samples, self.names, available_cores())

    @property
    def not_reached(self) -> list[str]:
        """Programs that ran less often than wanted."""
        return [
            f"{row['program']} beside {row['busy']}: {row['repeats']} of {self.repeats} times"
            for row in self.rows
            if row["repeats"] < self.repeats
        ]

    def save(self, *, quiet: bool = True) -> None:
        """Writes the file."""
        content = {"load_before": _LOAD, "rows": self.rows, "verdict": verdict(self.rows), "failed": self.failed,
                   "not_reached": self.not_reached, "samples": [vars(sample) for sample in self.samples]}  # fmt: skip
        write_json(self.path, content, quiet=quiet)

    def fill(self, chosen: dict[str, Program], clock: Clock) -> None:
        """Times all programs, in rounds, until the time is over. A program that failed is not tried again."""
        for _, name, neighbours in product(range(self.repeats), self.names, NEIGHBOURS):
            if name in self.failed:
                continue
            try:
                self.samples.append(measure(name, chosen[name], neighbours, clock))
            except OutOfTime:
                return
                print(f"{name} beside {neighbours}: {self.samples[-1].seconds:.3g} s", flush=True)
            except ProgramFailed as error:
                self.failed[name] = str(error)
            self.save()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(programs(Path(), False))
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PROGRAM",
                        help=f"any of {', '.join(map(repr, names))} (default: all)")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts (default: 3)")
    parser.add_argument("--minutes", type=float, default=15, help="time of everything together (default: 15)")
    parser.add_argument("--full", action="store_true", help="run the whole recipe digits")
    parser.add_argument("--json", type=Path, default=RESULTS / "busy.json")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    if not (math.isfinite(arguments.minutes) and arguments.minutes > 0):
        raise ConfigError(f"--minutes: should be above 0, found {arguments.minutes:g}")
    if arguments.repeats < 1:
        raise ConfigError(f"--repeats: should be at least 1, found {arguments.repeats}")
    clock = Clock(time.monotonic() + 60 * arguments.minutes)
    record = Record(arguments.json, arguments.only, arguments.repeats)
    with tempfile.TemporaryDirectory() as work:
        try:
            prepare(Path(work), arguments.only, clock)
        except OutOfTime:
            pass  # `fill` notices it, too
        except ProgramFailed as error:
            record.failed["train step"] = str(error)
        record.fill(programs(Path(work), arguments.full), clock)
    record.save(quiet=False)
    return report(record)


def report(record: Record) -> int:
    """Prints the table, the verdict, and everything that failed or was not reached; returns the exit code."""
    print_table(record.rows)
    for name, error in record.failed.items():
        print(f"{name} failed: {error}", file=sys.stderr)
    for line in record.not_reached:
        print(f"not reached: {line}")
    slow = verdict(record.rows)
    if slow:
        print(f"slower than the share of the cores explains, by more than {MOST_EXCESS} times: {slow}")
    elif any(row["busy"] and row["excess"] is not None for row in record.rows):
        print(f"nothing is slower than its share of the cores explains by more than {MOST_EXCESS} times")
    else:
        print("nothing was compared")
    return 1 if slow or record.failed else 0


def main() -> int:
    """Times the programs and prints a row for each number of busy processes.

    Returns:
        The exit code: 1 if a program failed or is slower than explained, 2 for a wrong argument.
    """
    return exit_code(partial(_run, _parse()))


if __name__ == "__main__":
    sys.exit(main())
