"""Measures the growth of the time of a sample, and finds the rows that leave the straight line.

    python -m benchmarks.scaling [--size 6M] [--slope 2] [--grids 8 12 ...] [--batch-grid 16] [--batches 1 2 4 ...]

There are two series of the cached sampler. *Grids*, with one image: if reading the weights is the limit, all steps take
the same time, so the time is a line over the steps. *Batches*, with one grid: if arithmetic is the limit, the time is a
line over the images. Each line is fitted to the rows in which its limit holds, by the operations, weights and speeds of
this machine: to at least three rows, the nearest ones, and to at most half of a series, so that the rest can
leave it.

The necessary parts of a sample are timed alone, in the same rounds: the matrix products; the attentions; drawing (a
prior of 8 channels in the same number of steps: the loop, noise, choice). The rest are gathers, norms, gates and
launches. Each part has its own line through the same rows, and the lines add up. If a row is off the line by more than
15 %, the deviation of each part from its own line is printed. Beside it stand the sizes of the weights and of the
cached features of the images, as multiples of the largest cache.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.priors import SIZES, Request, arithmetic_seconds, make_prior, reading_seconds
from benchmarks.report import RESULTS, fit_line, interleaved_medians, print_table, run_main, write_json
from benchmarks.step_parts import attentions, drawing, products
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine, measure_machine
from vqgen.sampling import bytes_per_image, fastest_sampler

PARTS = ("products", "attentions", "drawing", "the rest")

_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

_OFF = 0.15
"""A row that deviates from the line by more than this share has left it."""

_LEAST_ROWS = 3


@dataclass(frozen=True)
class Point:
    """One row of a series.

    Attributes:
        x: Steps or images. The time should be a line over them.
        seconds: Time of a sample.
        parts: Times of its parts. They add up to `seconds`.
        on_line: True if the limit that makes the line holds here.
        columns: The other columns of the row.
    """

    x: int
    seconds: float
    parts: dict[str, float]
    on_line: bool
    columns: dict[str, Any]


def measure(request: Request, machine: Machine, repeats: int, x: int, is_grid: bool) -> Point:
    """Times a sample and its parts, in turn."""
    prior = request.prior
    dtype = getattr(torch, request.compute.dtype)
    sampler = fastest_sampler(request.compute.device)
    contestants: dict[str, Callable[[], object]] = {"sample": lambda: request.sample(sampler)}
    contestants |= {"products": products(request), "attentions": attentions(request), "drawing": drawing(request)}
    times = interleaved_medians(contestants, repeats=repeats, warm_ups=2)  # on a GPU the second map is recorded
    seconds = times.pop("sample")
    is_reading = reading_seconds(prior, machine, dtype.itemsize) >= arithmetic_seconds(prior, request.batch, machine)
    cache = largest_cache(request.compute.device)
    weights = dtype.itemsize * sum(parameter.numel() for parameter in prior.parameters())
    cached = request.batch * bytes_per_image(prior.config, dtype.itemsize)
    columns = {
        "grid": prior.config.height,
        "batch": request.batch,
        "steps": prior.order.num_steps,
        "limit": "reading" if is_reading else "arithmetic",
        "weights_over_cache": weights / cache if cache else None,
        "kept_over_cache": cached / cache if cache else None,
    }
    return Point(x, seconds, times | {"the rest": seconds - sum(times.values())}, is_reading == is_grid, columns)


def largest_cache(device: torch.device) -> int | None:
    """Returns the bytes of the last cache before memory, or None if the system does not report them."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = [path.read_text().strip() for path in _CPU_CACHES.glob("index*/size")]  # such as 32768K
    return max((1024 * int(size.removesuffix("K")) for size in sizes), default=None)


def fitted_points(points: Sequence[Point], *, is_grid: bool) -> list[Point]:
    """Chooses the points that a line is fitted to.

    Args:
        points: A series of at least three, x rising.
        is_grid: True for grids: reading is the limit of the small ones, at the beginning of the series. False for
            batches: arithmetic is the limit of the large ones, at its end.
    """
    ordered = list(points) if is_grid else list(reversed(points))
    holds = sum(point.on_line for point in points)
    return ordered[: max(_LEAST_ROWS, min(holds, -(-len(points) // 2)))]


def rows_of(points: Sequence[Point], *, is_grid: bool) -> list[dict[str, Any]]:
    """Compares each point with the line, and each of its parts with the line of the part."""
    chosen = fitted_points(points, is_grid=is_grid)
    xs = [point.x for point in chosen]
    scales = [point.seconds for point in chosen]
    line = fit_line(xs, scales)
    lines = {part: fit_line(xs, [point.parts[part] for point in chosen], scales) for part in PARTS}
    return [
        {
            **point.columns,
            "seconds": point.seconds,
            "line": line(point.x),
            "measured_over_line": point.seconds / line(point.x),
            "fitted": point in chosen,
            "parts": point.parts,
            "parts_off_line": {part: point.parts[part] - lines[part](point.x) for part in PARTS},
        }
        for point in points
    ]


def causes(row: dict[str, Any]) -> str | None:
    """Describes the parts that take a row off the line, the largest first. Returns None for a row on the line."""
    off = row["seconds"] - row["line"]
    if abs(off) <= _OFF * abs(row["line"]):
        return None
    ordered = sorted(row["parts_off_line"].items(), key=lambda entry: entry[1], reverse=off > 0)
    described = ", ".join(f"{part} {1000 * seconds:+.3g} ms" for part, seconds in ordered)
    cached = row["kept_over_cache"]
    cache = (
        "" if cached is None else f"; weights fill {row['weights_over_cache']:.2g} and images {cached:.2g} of the cache"
    )
    return (
        f"grid {row['grid']}, batch {row['batch']}: {row['measured_over_line']:.2f} x the line, {1000 * off:+.3g} ms "
        f"in {row['steps']} steps: {described}{cache}"
    )


def print_series(name: str, points: Sequence[Point], *, is_grid: bool) -> dict[str, Any]:
    """Prints a series and returns its rows, and the causes of the rows that are off the line."""
    rows = rows_of(points, is_grid=is_grid)
    print(f"\n{name}")
    shown = ("grid", "batch", "steps", "limit", "seconds", "line", "measured_over_line", "fitted", "kept_over_cache")
    parts = [{f"{part}, ms/step": 1000 * row["parts"][part] / row["steps"] for part in PARTS} for row in rows]
    print_table([{name: row[name] for name in shown} | each for row, each in zip(rows, parts, strict=True)])
    found = [cause for row in rows if (cause := causes(row))]
    print("\n".join(found) or f"no row is off the line by more than {_OFF:.0%}")
    return {"rows": rows, "off_the_line": found}


def main() -> None:
    """Prints both series and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="6M")
    parser.add_argument("--slope", type=int, default=2)
    parser.add_argument("--grids", nargs="+", type=int, default=[8, 12, 16, 24, 32, 48, 64])
    parser.add_argument("--batch-grid", type=int, default=16)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        help="dtype of the products (default: bfloat16 on a GPU, else float32)",
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "scaling.json")
    arguments = parser.parse_args()
    if min(len(arguments.grids), len(arguments.batches)) < _LEAST_ROWS:
        parser.error(
            f"--grids and --batches should have at least {_LEAST_ROWS} values each: fewer always lie on a line"
        )
    device = Compute.resolve(arguments.device).device
    dtype = arguments.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    compute = Compute(device, dtype)
    machine = measure_machine(device, getattr(torch, dtype))

    def point(side: int, batch: int, is_grid: bool) -> Point:
        request = Request(make_prior(arguments.size, side, arguments.slope, device), batch, compute)
        x = request.prior.order.num_steps if is_grid else batch
        return measure(request, machine, arguments.repeats, x, is_grid)

    grids = [point(side, 1, is_grid=True) for side in sorted(arguments.grids)]
    batches = [point(arguments.batch_grid, batch, is_grid=False) for batch in sorted(arguments.batches)]
    results = {
        "size": arguments.size, "slope": arguments.slope, "dtype": dtype, "peak_flops": machine.peak_flops,
        "bandwidth": machine.bandwidth,
    }  # fmt: skip
    results["grids"] = print_series(
        f"{arguments.size}, slope {arguments.slope}, one image: time over steps", grids, is_grid=True
    )
    results["batches"] = print_series(f"grid {arguments.batch_grid}: time over images", batches, is_grid=False)
    write_json(arguments.json, results)


if __name__ == "__main__":
    run_main(main)
