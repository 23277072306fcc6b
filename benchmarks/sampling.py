"""How fast is a map sampled, and how near to the machine's limit?

    python -m benchmarks.sampling [--sizes 6M] [--grids 8 16 32 64] [--batches 1 8 64] [--seconds 20] [--json FILE]

The cached sampler in slope 2 and raster order, and beside it the plain one: a full forward per step, its time is that
of a forward, measured in the same rounds, times the steps. The limit is the larger of (operations / measured peak) and
(bytes of the weights x steps / measured bandwidth); the share of it is what a figure of 1 could not pass.
Lines that would take more than `--seconds` a sample are left out, and named.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import RESULTS, interleaved_medians, print_table, write_json
from vqgen.config import PixelCNNConfig
from vqgen.costs import prior_costs
from vqgen.machine import Machine, measure_machine
from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import Slope
from vqgen.sampling import CachedSampler, Filters, ImageNoise

SIZES: dict[str, dict[str, Any]] = {
    "3M": {"channels": 128, "layers": 5, "attention_every": 5},
    "6M": {"channels": 128, "layers": 10, "attention_every": 5},
    "30M": {"channels": 256, "layers": 14, "attention_every": 7},
    "paper-top": {"channels": 512, "layers": 20, "attention_every": 5, "attention_heads": 8, "output_layers": 20},
}
"""Name -> what makes the size. Kernels are 5 wide, codebooks have 512 entries."""


def build(size: str, side: int, slope: Slope, device: torch.device) -> PixelCNN:
    """A prior of random weights; what they are changes no time."""
    settings = {"level": "top", "height": side, "width": side, "slope": slope, "codebook_size": 512, "num_classes": 10}
    return PixelCNN(PixelCNNConfig(**settings, kernel_size=5, **SIZES[size])).to(device).eval()


def limit_seconds(prior: PixelCNN, batch: int, machine: Machine) -> float:
    """The least time of a batch: its operations at the peak, or its weights read once per step."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in prior.parameters())
    operations = batch * prior_costs(prior.config).total.flops / machine.peak_flops
    return max(operations, weights * prior.order.num_steps / machine.bandwidth)


def measure(size: str, side: int, batch: int, machine: Machine, most: float, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per order, all contestants of a size, grid and batch interleaved."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    orders: tuple[Slope, ...] = (2, "raster")
    priors = {slope: build(size, side, slope, device) for slope in orders}
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    codes = torch.zeros(batch, side, side, dtype=torch.int64, device=device)
    contestants: dict[str, Any] = {}
    for slope, prior in priors.items():
        if limit_seconds(prior, batch, machine) * 3 < most:
            contestants[f"cached {slope}"] = lambda prior=prior: CachedSampler().sample(
                prior, labels, None, ImageNoise(0, range(batch)), Filters()
            )
        contestants[f"forward {slope}"] = torch.no_grad()(lambda prior=prior: prior(codes, labels, None))
    times = interleaved_medians(contestants, repeats=repeats, warm_ups=1)
    plain_raster = times["forward raster"] * priors["raster"].order.num_steps
    for slope, prior in priors.items():
        cached, steps = times.get(f"cached {slope}"), prior.order.num_steps
        row = {"size": size, "parameters": sum(p.numel() for p in prior.parameters()), "grid": side, "slope": slope}
        row |= {"batch": batch, "steps": steps, "plain_seconds": times[f"forward {slope}"] * steps}
        if cached is None:
            yield (
                row
                | dict.fromkeys(("seconds", "ms_per_step", "images_per_second"), "left out")
                | dict.fromkeys(("share_of_limit", "over_plain_same_order", "over_plain_raster"), "")
            )
            continue
        yield row | {
            "seconds": cached,
            "ms_per_step": 1000 * cached / steps,
            "images_per_second": batch / cached,
            "share_of_limit": limit_seconds(prior, batch, machine) / cached,
            "over_plain_same_order": row["plain_seconds"] / cached,
            "over_plain_raster": plain_raster / cached,
        }


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["6M"])
    parser.add_argument("--grids", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "sampling.json")
    arguments = parser.parse_args()
    machine = measure_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    rows: list[dict[str, Any]] = []
    for size, side, batch in product(arguments.sizes, arguments.grids, arguments.batches):
        rows += measure(size, side, batch, machine, arguments.seconds, arguments.repeats)
    print_table(rows)
    figures: dict[str, Any] = {"peak_flops": machine.peak_flops, "bandwidth": machine.bandwidth, "rows": rows}
    for row in rows:  # the marks: 32 x 32, batch 1
        if (row["size"], row["grid"], row["batch"]) == ("6M", 32, 1) and row["over_plain_raster"]:
            name = "cached_raster" if row["slope"] == "raster" else f"cached_slope{row['slope']}"
            figures[f"{name}_over_plain_raster"] = row["over_plain_raster"]
    figures["share_of_limit"] = {
        f"{row['size']} {row['grid']} slope {row['slope']} batch {row['batch']}": row["share_of_limit"] for row in rows
    }
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
