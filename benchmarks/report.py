"""Shared parts of the benchmarks: times that can be compared, tables, and results with a description of the machine."""

import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import numpy as np
import torch

from vqgen import __version__
from vqgen.errors import Interrupted, VQGenError
from vqgen.runtime.cores import available_cores
from vqgen.runtime.signals import raising_signals, restored_handlers
from vqgen.storage import files

RESULTS = Path(__file__).parent / "results"

Rows = list[dict[str, Any]]
"""Rows of a table: name of a column -> value."""


def interleaved_medians(
    contestants: Mapping[str, Callable[[], object]], *, repeats: int = 7, warm_ups: int = 2
) -> dict[str, float]:
    """Times all contestants in turn, again and again, so that a busy moment of the machine affects all of them.

    Args:
        contestants: Name -> the call to time.
        repeats: Rounds that count.
        warm_ups: Rounds before them that do not count.

    Returns:
        Name -> the median of its times, in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warm_ups + repeats):
        for name, run in contestants.items():
            seconds = seconds_of(run)
            if number >= warm_ups:
                times[name].append(seconds)
    return {name: median(values) for name, values in times.items()}


def seconds_of(run: Callable[[], object]) -> float:
    """Times one call, with all work that it starts on an accelerator."""
    _synchronize()
    start = time.perf_counter()
    run()
    _synchronize()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Line:
    """y = intercept + slope * x."""

    intercept: float
    slope: float

    def __call__(self, x: float) -> float:
        """Computes y."""
        return self.intercept + self.slope * x


def fit_line(xs: Sequence[float], ys: Sequence[float], scales: Sequence[float] | None = None) -> Line:
    """Fits the line with the least squared relative errors.

    Args:
        xs: At least two different values.
        ys: As many values.
        scales: The scale of each point, above 0: its error is divided by it. None for the point's own y. If several
            parts have the same scales, their lines add up to the line of their sum.
    """
    weights = 1 / np.asarray(ys if scales is None else scales, dtype=np.float64)
    points = np.stack([np.ones(len(xs)), np.asarray(xs, dtype=np.float64)], axis=1)
    solution = np.linalg.lstsq(points * weights[:, None], np.asarray(ys) * weights, rcond=None)[0]
    return Line(float(solution[0]), float(solution[1]))


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Prints rows under the column names of the first row. Numbers have three significant digits."""
    lines = [list(rows[0]), *[[_text(row[name]) for name in rows[0]] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def machine() -> dict[str, Any]:
    """Describes the hardware and the versions, so that results can be told apart."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "vqgen": __version__,
    }


def command() -> str:
    """Returns the command that started this program."""
    program = sys.modules["__main__"].__spec__
    name = program.name.removesuffix(".__main__") if program else Path(sys.argv[0]).name
    return shlex.join(["python", "-m", name, *sys.argv[1:]])


def write_json(path: Path, results: Mapping[str, Any], *, quiet: bool = False) -> None:
    """Writes results, with the machine and the command that produced them, and prints the path unless `quiet`."""
    files.write_json(path, {"command": command(), "machine": machine(), **results})
    if not quiet:
        print(f"written: {path}")


@dataclass(frozen=True)
class Measured:
    """The outcome of `measure_each`.

    Attributes:
        rows: The rows of all measurements.
        failed: Name of a measurement that failed -> its error.
    """

    rows: Rows
    failed: dict[str, str]


def measure_each(
    path: Path,
    measurements: Mapping[str, Callable[[], Rows]],
    describe: Callable[[Rows], Mapping[str, Any]] = lambda rows: {},
) -> Measured:
    """Takes measurements one by one, and writes the results after each: a kill loses only the running one.

    A measurement that fails, for example for want of memory, does not stop the next one. The file has the rows, the
    errors by name, and the names of the measurements that are left.

    Args:
        path: The JSON file.
        measurements: Name -> the measurement, which returns its rows.
        describe: Returns further results for the file from all rows so far.
    """
    measured = Measured([], {})
    left = list(measurements)

    def save() -> None:
        write_json(path, {**describe(measured.rows), **vars(measured), "left": left}, quiet=bool(left))

    save()
    for name, measure in measurements.items():
        try:
            measured.rows.extend(measure())
        except Exception as error:
            traceback.print_exc()
            measured.failed[name] = f"{type(error).__name__}: {error}"
        left.remove(name)
        save()
    return measured


def run_main(act: Callable[[], int | None]) -> NoReturn:
    """Runs a program and ends Python with its exit code."""
    sys.exit(exit_code(act))


def exit_code(act: Callable[[], int | None]) -> int:
    """Runs a program and returns its exit code: 2 for an error that the user can mend, 130 or 143 after a signal."""
    try:
        with restored_handlers(), raising_signals():
            return act() or 0
    except VQGenError as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"{stop}; what was written before is kept", file=sys.stderr)
        return 128 + stop.signal_number


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _processor() -> str:
    """Returns the model of the processor. Only Linux has it in a file."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
    return models[0] if models else platform.machine()
