"""Times training steps of recipes' models with one torch thread and with two, as shares of their limit.

    python -m benchmarks.training_step [--cases digits-bottom ...] [--threads 1 2] [--rounds 5] [--json FILE]

The step is the training loop's own, with its batches, its optimizer and its log, on random codes and pictures. The two
thread counts take turns in one process, and the median of the rounds counts. A case has the settings of its recipe,
but a step never contrasts labels (some recipes do it in their last steps), and has fewer images if the memory is small
or the device is a CPU.

Share of the limit: (FLOPs of the step's products / its time) / peak. The FLOPs are those of open taps and visible
pairs, forward and backward. The peak is measured in the same rounds, with as many threads: the best speed of a plain
matrix product in the shapes of the step's largest layers. Beside it stands the share of the machine's peak, a product
of large square matrices or a large convolution. On an accelerator the threads stay as they are. The dtypes of --dtypes
take turns, too.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.report import RESULTS, Rows, exit_code, measure_each, print_table, seconds_of
from benchmarks.train import make_trainer
from benchmarks.training_step_cases import ON_A_CPU, SOURCES, Shape, StepCase, make_step_case
from vqgen.errors import ConfigError
from vqgen.runtime.compute import Compute
from vqgen.runtime.cores import available_cores
from vqgen.runtime.machine import measure_machine

_WARM_UPS = 2

_SECONDS_A_TURN = 0.5
"""Time of the steps of a turn: a short step is repeated, so that one interruption matters less."""

_MOST_STEPS_A_TURN = 20

_REPEATS = 3
"""Repetitions of each product in a round. The best one counts."""

_ROWS = 2**18
"""Most rows of a product of the peak. More rows make no product faster, and take memory."""


@dataclass(frozen=True)
class Setting:
    """The threads and the dtype of a contestant."""

    threads: int
    dtype: str


@dataclass
class Contestant:
    """A training in one setting.

    Attributes:
        steps: Takes one step with each `next`.
        products: The products of the peak, with their FLOPs.
        steps_a_turn: Steps of a turn.
        seconds: Time of a step, in each round so far.
        peaks: Best FLOP/s of a product, in each round so far.
    """

    steps: Iterator[int]
    products: list[tuple[Callable[[], object], int]]
    steps_a_turn: int = 1
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        """Takes the first steps, and chooses the steps of a turn."""
        self._step(_WARM_UPS)
        seconds = max(1e-6, seconds_of(self._step))
        self.steps_a_turn = min(_MOST_STEPS_A_TURN, max(1, math.ceil(_SECONDS_A_TURN / seconds)))

    def take_turn(self) -> None:
        """Times steps and products once."""
        if self.steps_a_turn > 1:
            self._step()  # finds the caches of another contestant, so it does not count
        self.seconds.append(seconds_of(partial(self._step, self.steps_a_turn)) / self.steps_a_turn)
        self.peaks.append(max(flops / seconds_of(run) for run, flops in self.products for _ in range(_REPEATS)))

    def _step(self, count: int = 1) -> None:
        for _ in range(count):
            next(self.steps)


def plain_products(
    shapes: list[Shape], device: torch.device, dtype: torch.dtype
) -> list[tuple[Callable[[], object], int]]:
    """Returns a call of the matrix product of each shape, with its FLOPs."""
    calls = []
    for rows, inner, outputs in shapes:
        left = torch.randn(min(rows, _ROWS), inner, device=device, dtype=dtype)
        right = torch.randn(inner, outputs, device=device, dtype=dtype)
        calls.append((partial(torch.matmul, left, right), 2 * len(left) * inner * outputs))
    return calls


def time_case(step: StepCase, settings: list[Setting], compute: Compute, folder: Path, rounds: int) -> Rows:
    """Times a case in all settings in turn.

    Returns:
        A row for each setting, without the share of the machine's peak.
    """
    accelerator = Accelerator(cpu=compute.device.type == "cpu")
    contestants: dict[Setting, Contestant] = {}
    with ExitStack() as stack:
        trainings = {}
        for dtype in dict.fromkeys(setting.dtype for setting in settings):
            trainer = make_trainer(step.case, accelerator, folder, half=dtype == "bfloat16")
            trainings[dtype] = stack.enter_context(closing(trainer.steps()))  # pyright: ignore[reportArgumentType]
        for setting in settings:
            products = plain_products(step.shapes, compute.device, getattr(torch, setting.dtype))
            contestants[setting] = Contestant(trainings[setting.dtype], products)
            in_threads(setting.threads, contestants[setting].warm_up)
        for _, (setting, contestant) in product(range(rounds), contestants.items()):
            in_threads(setting.threads, contestant.take_turn)
    accelerator.free_memory()
    return [_row(step, setting, contestant) for setting, contestant in contestants.items()]


def in_threads(threads: int, act: Callable[[], object]) -> None:
    """Runs `act` with a number of torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        act()
    finally:
        torch.set_num_threads(before)


def _row(step: StepCase, setting: Setting, contestant: Contestant) -> dict[str, Any]:
    seconds = median(contestant.seconds)
    peak = max(contestant.peaks)
    return {
        "case": step.case.name,
        "batch": step.case.batch_size,
        "dtype": setting.dtype,
        "threads": setting.threads,
        "ms": 1e3 * seconds,
        "images_per_second": step.case.batch_size / seconds,
        "gflop": step.flops / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_limit": step.flops / seconds / peak,
        "rounds_ms": [1e3 * value for value in contestant.seconds],
        "rounds_peak_gflops": [value / 1e9 for value in contestant.peaks],
    }


def measure(
    name: str, settings: dict[Setting, float], compute: Compute, folder: Path, arguments: argparse.Namespace
) -> Rows:
    """Times a case of `SOURCES`. `settings` have the peak of the machine, in FLOP/s."""
    step = make_step_case(name, compute, folder, arguments.batch)
    rows = time_case(step, list(settings), compute, folder, arguments.rounds)
    for row, peak in zip(rows, settings.values(), strict=True):
        row["share_of_peak"] = 1e9 * row["gflop"] / (row["ms"] / 1e3) / peak
    print_table([{key: value for key, value in row.items() if not key.startswith("rounds")} for row in rows])
    sys.stdout.flush()
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
    return rows


def chosen_settings(device: torch.device, threads: list[int] | None, dtypes: list[str], cores: int) -> list[Setting]:
    """Returns the settings to time. On an accelerator the threads stay as they are.

    Args:
        device: The device.
        threads: Numbers of torch threads; None for one and, with as many cores, two.
        dtypes: The dtypes.
        cores: Cores of the machine.

    Raises:
        ConfigError: A number of threads is below 1 or above the cores.
    """
    numbers = [number for number in (1, 2) if number <= cores] if threads is None else threads
    wrong = [number for number in numbers if not 1 <= number <= cores]
    if wrong:
        raise ConfigError(f"--threads: should be from 1 to {cores}, the cores of this machine, found {wrong[0]}")
    if device.type != "cpu":
        numbers = [torch.get_num_threads()]
    return [Setting(number, dtype) for dtype, number in product(dtypes, numbers)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=SOURCES, default=list(ON_A_CPU), metavar="CASE",
                        help=f"any of {', '.join(SOURCES)} (default: {', '.join(ON_A_CPU)})")  # fmt: skip
    parser.add_argument("--threads", nargs="+", type=int, help="torch threads on a CPU (default: 1 2)")
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32"])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default: 5)")
    parser.add_argument("--batch", type=int, help="most images of a step (default: as in the recipe)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps or auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "training_step.json")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    for option, value in (("--rounds", arguments.rounds), ("--batch", arguments.batch)):
        if value is not None and value < 1:
            raise ConfigError(f"{option}: should be at least 1, found {value}")
    compute = Compute.resolve(arguments.device)
    peaks: dict[Setting, float] = {}

    def measure_peak(setting: Setting) -> None:
        peaks[setting] = measure_machine(compute.device, getattr(torch, setting.dtype)).peak_flops

    for setting in chosen_settings(compute.device, arguments.threads, arguments.dtypes, available_cores()):
        in_threads(setting.threads, partial(measure_peak, setting))
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: partial(measure, name, peaks, compute, Path(folder), arguments) for name in arguments.cases}
        described = [{**vars(setting), "peak_flops": peak} for setting, peak in peaks.items()]
        measured = measure_each(arguments.json, cases, lambda rows: {"machine_peaks": described})
    for name, error in measured.failed.items():
        print(f"{name} failed: {error}", file=sys.stderr)
    return 1 if measured.failed else 0


def main() -> int:
    """Prints a table for each case and writes all rows.

    Returns:
        The exit code: 1 if a case failed, 2 for a wrong argument.
    """
    arguments = _parse()
    return exit_code(partial(_run, arguments))


if __name__ == "__main__":
    sys.exit(main())
