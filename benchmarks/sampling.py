"""Times the sampling of a map of codes, beside the limit of the machine.

    python -m benchmarks.sampling [--sizes 6M] [--grids 8 16 32 64] [--batches 1 8 64] [--threads N] [--json FILE]

The fastest sampler for the device (the cached one; on a GPU its recorded map) runs in slope 2 and in raster order.
Beside it run the plain sampler in both orders, and pythae's sampler in raster order with about as many parameters.
These two take a full forward pass at each step. If that takes too long, their time is the time of one forward pass,
measured in the same rounds, times the number of steps ("estimated"). The limit is the larger of (operations / measured
peak) and (bytes of the weights x steps / measured bandwidth). A sampler that reads all weights at every step cannot
exceed a share of 1. In raster order, ours reads most of them once for each row of the grid. A sample of a bottom prior
includes its conditioning stack, and so does the limit.

On a GPU that can run the Triton kernels, the same sampler with them is timed in the same rounds. "fused gain" is the
time without the kernels over the time with them. They should be the default of `CudaGraphSampler` if it is at least 1.5
in most rows; if it is in none, they should go.

Rows are left out, and named, if a sample would take more than `--seconds` by the estimate of `vqgen plan`, or more
memory than the machine has. The plain sampler and the peer run as a whole if all their rounds take less than
`--seconds`. With `--alone`, only the fastest sampler in slope 2 is timed. The file is written after each batch.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.priors import SIZES, Request, arithmetic_seconds, limit_seconds, make_prior
from benchmarks.pythae_peer import PythaePeer, why_missing
from benchmarks.report import RESULTS, Rows, interleaved_medians, measure_each, print_table, run_main, seconds_of
from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.order import Slope
from vqgen.planning.estimates import SampleRequest, sampling_seconds
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine, measure_machine
from vqgen.runtime.threads import fix_threads
from vqgen.sampling import CudaGraphSampler, PlainSampler, fastest_sampler, images_that_fit
from vqgen.sampling.triton_block import can_use_triton

ORDERS: tuple[Slope, ...] = (2, "raster")

_OVER_THE_LIMIT = 3
"""A forward pass is expected to take at most this multiple of its limit. It runs if that is short enough."""

_LEFT_OUT = (None, "left out")
"""Time and origin of a sampler that is not measured."""

_COLUMNS = {
    "size": "size", "grid": "grid", "batch": "batch", "slope": "slope", "steps": "steps", "seconds": "seconds",
    "ms/step": "ms_per_step", "images/s": "images_per_second", "of limit": "share_of_limit",
    "fused, s": "fused_seconds", "fused gain": "fused_gain",
    "plain, s": "plain_seconds", "plain is": "plain_is", "pythae, s": "pythae_seconds", "pythae is": "pythae_is",
    "x plain": "over_plain_same_order", "x plain raster": "over_plain_raster", "x pythae": "over_pythae",
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """The settings of all rows.

    Attributes:
        compute: Device and dtype.
        machine: The measured limits of both.
        seconds: The value on the command line.
        repeats: Rounds that count.
        has_pythae: True if the peer is measured.
        has_peers: True if raster order, the plain sampler and, with `has_pythae`, the peer are measured.
    """

    compute: Compute
    machine: Machine
    seconds: float
    repeats: int
    has_pythae: bool
    has_peers: bool = True

    @property
    def orders(self) -> tuple[Slope, ...]:
        """The orders to measure."""
        return ORDERS if self.has_peers else ORDERS[:1]

    @property
    def has_kernels(self) -> bool:
        """True if the sampler with Triton kernels is measured too."""
        device = self.compute.device
        return device.type == "cuda" and can_use_triton(device, getattr(torch, self.compute.dtype), 1)

    @property
    def element_size(self) -> int:
        """Bytes of a number in the dtype of the products."""
        return getattr(torch, self.compute.dtype).itemsize

    def limit(self, request: Request) -> float:
        """Computes the least time of a request, in seconds."""
        return limit_seconds(request.prior, request.batch, self.machine, self.element_size)

    def expected(self, request: Request) -> float:
        """Estimates the time of a request as `vqgen plan` does, in seconds."""
        wanted = SampleRequest(request.prior.config, request.batch, request.batch)
        return sampling_seconds(self.machine, wanted, self.element_size)


@dataclass(frozen=True)
class FullForwards:
    """A sampler that takes a full forward pass at each step.

    Attributes:
        name: Name of its times.
        steps: Forward passes of a sample.
        forward: Runs one forward pass.
        sample: Runs the whole sampler.
    """

    name: str
    steps: int
    forward: Callable[[], object]
    sample: Callable[[], object]

    def contestant(self, bench: Bench) -> dict[str, Callable[[], object]]:
        """Chooses the call to time: the whole sampler, or a forward pass if that takes too long."""
        self.forward()  # warm-up
        whole = seconds_of(self.forward) * self.steps * (bench.repeats + 1)
        return {self.name: self.sample} if whole < bench.seconds else {f"{self.name} forward": self.forward}

    def result(self, times: dict[str, float]) -> tuple[float | None, str]:
        """Returns the seconds of a sample, and the word for their origin: measured, estimated or left out."""
        if self.name in times:
            return times[self.name], "measured"
        forward = times.get(f"{self.name} forward")
        return (None, "left out") if forward is None else (forward * self.steps, "estimated")


def measure(size: str, side: int, batch: int, bench: Bench) -> list[dict[str, Any]]:
    """Makes a row for each order. All contestants of a size, grid and batch are timed in turn."""
    requests: dict[Slope, Request] = {
        slope: Request(make_prior(size, side, slope, bench.compute.device), batch, bench.compute)
        for slope in bench.orders
    }
    contestants: dict[str, Callable[[], object]] = {}
    for slope, request in requests.items():
        if bench.expected(request) < bench.seconds and _fits(request.prior.config, batch, bench):
            contestants[f"cached {slope}"] = partial(request.sample, fastest_sampler(bench.compute.device))
            if bench.has_kernels:
                contestants[f"fused {slope}"] = partial(request.sample, CudaGraphSampler(fused=True))
    peers = _peers(requests, batch, bench) if bench.has_peers else {}
    for peer in peers.values():
        contestants |= peer.contestant(bench)
    # On a GPU the second map is recorded, so the third is the first that counts.
    warm_ups = 2 if bench.compute.device.type == "cuda" else 1
    times = interleaved_medians(contestants, repeats=bench.repeats, warm_ups=warm_ups) if contestants else {}
    results = {name: peer.result(times) for name, peer in peers.items()}
    return [_row(size, request, times, results, bench) for slope, request in requests.items()]


def _peers(requests: dict[Slope, Request], batch: int, bench: Bench) -> dict[str, FullForwards]:
    """Returns the samplers to compare with: none if even one forward pass takes too long."""
    prior = requests["raster"].prior
    if _OVER_THE_LIMIT * arithmetic_seconds(prior, batch, bench.machine) >= bench.seconds:
        return {}
    peers = {f"plain {slope}": _plain(slope, request) for slope, request in requests.items()}
    if bench.has_pythae:
        parameters = sum(parameter.numel() for parameter in prior.parameters())
        peer = PythaePeer(parameters, prior.config.height, prior.config.codebook_size)
        peers["pythae"] = FullForwards("pythae", peer.num_steps, peer.forward(batch), peer.sample(batch))
    return peers


def _plain(slope: Slope, request: Request) -> FullForwards:
    return FullForwards(
        f"plain {slope}", request.prior.order.num_steps, request.forward(), lambda: request.sample(PlainSampler())
    )


def _fits(config: PixelCNNConfig, batch: int, bench: Bench) -> bool:
    try:
        holds_memory = fastest_sampler(bench.compute.device).holds_memory
        return batch <= images_that_fit([config], bench.compute.free_memory, holds_memory=holds_memory)
    except ConfigError:
        return False


def _row(
    size: str, request: Request, times: dict[str, float], peers: dict[str, tuple[float | None, str]], bench: Bench
) -> dict[str, Any]:
    prior = request.prior
    slope = request.prior.config.slope
    cached = times.get(f"cached {slope}")
    fused = times.get(f"fused {slope}")
    plain, plain_is = peers.get(f"plain {slope}", _LEFT_OUT)
    raster, _ = peers.get("plain raster", _LEFT_OUT)
    pythae, pythae_is = peers.get("pythae", _LEFT_OUT)
    return {
        "size": size,
        "parameters": sum(parameter.numel() for parameter in prior.parameters()),
        "grid": prior.config.height,
        "batch": request.batch,
        "slope": slope,
        "steps": prior.order.num_steps,
        "seconds": cached,
        "ms_per_step": 1000 * cached / prior.order.num_steps if cached else None,
        "images_per_second": request.batch / cached if cached else None,
        "limit_seconds": bench.limit(request),
        "share_of_limit": bench.limit(request) / cached if cached else None,
        "fused_seconds": fused,
        "fused_gain": cached / fused if cached and fused else None,
        "plain_seconds": plain,
        "plain_is": plain_is,
        "pythae_seconds": pythae,
        "pythae_is": pythae_is,
        "over_plain_same_order": plain / cached if plain and cached else None,
        "over_plain_raster": raster / cached if raster and cached else None,
        "over_pythae": pythae / cached if pythae and cached else None,
    }


def marks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Picks the main results: speedups of the 6M prior at 32 x 32, batch 1, shares of the limit, gains by kernels."""
    results: dict[str, Any] = {}
    for row in rows:
        if (row["size"], row["grid"], row["batch"]) == ("6M", 32, 1) and row["over_plain_raster"]:
            name = "cached_raster" if row["slope"] == "raster" else f"cached_slope{row['slope']}"
            results[f"{name}_over_plain_raster"] = row["over_plain_raster"]
    results["share_of_limit"] = {_name(row): row["share_of_limit"] for row in rows if row["share_of_limit"]}
    gains = {_name(row): row["fused_gain"] for row in rows if row.get("fused_gain")}
    return results | ({"fused_gain": gains} if gains else {})


def _name(row: dict[str, Any]) -> str:
    return f"{row['size']} {row['grid']} slope {row['slope']} batch {row['batch']}"


def main() -> int:
    """Prints the table and writes it.

    Returns:
        The exit code: 1 if a measurement failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["6M"])
    parser.add_argument("--grids", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="time only the fastest sampler, in slope 2")
    parser.add_argument("--threads", type=int, help="threads on a CPU (default: as many as the work can use)")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        help="dtype of the products (default: bfloat16 on a GPU, else float32)",
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "sampling.json")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        fix_threads(arguments.threads)
    bench = _bench(arguments)
    cases = product(arguments.sizes, arguments.grids, arguments.batches)
    measured = measure_each(
        arguments.json,
        {f"{size} {side} batch {batch}": partial(measure, size, side, batch, bench) for size, side, batch in cases},
        partial(_results, bench),
    )
    if measured.rows:
        print_table([{title: row[name] for title, name in _COLUMNS.items()} for row in measured.rows])
    left_out = _left_out(measured.rows)
    if left_out:
        print(f"left out, because they need more than {arguments.seconds:g} s or the memory: {'; '.join(left_out)}")
    return 1 if measured.failed else 0


def _bench(arguments: argparse.Namespace) -> Bench:
    """Measures the machine, and looks for the peer unless it is left out."""
    device = Compute.resolve(arguments.device).device
    dtype = arguments.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    missing = "" if arguments.alone else why_missing()
    if missing:
        print(missing)
    machine = measure_machine(device, getattr(torch, dtype))
    has_peers = not arguments.alone
    return Bench(
        Compute(device, dtype), machine, arguments.seconds, arguments.repeats, has_peers and not missing, has_peers
    )


def _results(bench: Bench, rows: Rows) -> dict[str, Any]:
    """Returns the settings and the main results of all rows so far."""
    machine = bench.machine
    settings = {"dtype": bench.compute.dtype, "peak_flops": machine.peak_flops, "bandwidth": machine.bandwidth}
    return settings | marks(rows) | {"left_out": _left_out(rows)}


def _left_out(rows: Rows) -> list[str]:
    return [_name(row) for row in rows if row["seconds"] is None]


if __name__ == "__main__":
    run_main(main)
