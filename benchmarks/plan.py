"""Compares the estimates of `vqgen plan` with measured times of training steps and samples of shipped recipes.

    python -m benchmarks.plan [RECIPE ...] [--seconds 60] [--json FILE]

The steps run on random images and codes, in a plain loop of loss, backward pass, clipping, optimizer and average.
Stages take turns, and the median counts. `SHARE` and `SECONDS_PER_TENSOR` of `vqgen/planning/estimates.py` are fitted
to the last two columns: measured time = seconds at the peak / SHARE + tensors * SECONDS_PER_TENSOR. Samples are one
image and a batch of each level, in the recipe's order and in raster order.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.priors import Request
from benchmarks.report import RESULTS, interleaved_medians, print_table, run_main, seconds_of, write_json
from vqgen.config import Level, Recipe, TrainConfig, find_recipe, read_recipe
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.planning.costs import BACKWARD, prior_costs, vqvae_costs
from vqgen.planning.estimates import SampleRequest, sampling_seconds, training_seconds
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine, measure_machine
from vqgen.sampling import fastest_sampler
from vqgen.training.losses import nats_per_code, vqvae_loss
from vqgen.training.optimization import make_optimizer

_CLASSES = 10

_STEPS_A_TURN = 4


@dataclass
class Stage:
    """A stage whose steps are timed.

    Attributes:
        name: Recipe and stage.
        step: Takes one training step.
        flops: Floating point operations of a step.
        tensors: Number of weight tensors of the model.
        seconds: Times of the steps so far.
    """

    name: str
    step: Callable[[], None]
    flops: int
    tensors: int
    seconds: list[float] = field(default_factory=list)


def vqvae_stage(recipe: Recipe, device: torch.device) -> Stage:
    """Prepares the first stage of a recipe, as it is after the start without quantization."""
    config = recipe.vqvae_config().model_copy(update={"quantize_after": 0})
    train = recipe.vqvae.train
    model = VQVAE(config).to(device)
    shape = (train.batch_size, config.image_channels, config.image_size, config.image_size)
    images = torch.rand(shape, device=device) * 2 - 1
    step = _training_step(
        model, train, lambda: vqvae_loss(model(images), images, config.commitment_weight)[0], model.update_codebooks
    )
    return Stage(f"{recipe.name} vqvae", step, train.batch_size * vqvae_costs(config).train_flops, _tensors(model))


def prior_stage(recipe: Recipe, level: Level, device: torch.device) -> Stage:
    """Prepares the training of one level's prior."""
    config = recipe.prior_config(level, _CLASSES)
    train = recipe.prior(level).train
    model = PixelCNN(config).to(device)
    labels = torch.randint(_CLASSES, (train.batch_size,), device=device)

    def random_codes(height: int, width: int) -> Tensor:
        return torch.randint(config.codebook_size, (train.batch_size, height, width), device=device)

    codes = random_codes(config.height, config.width)
    coarser = random_codes(config.coarser_height, config.coarser_width) if config.is_conditioned else None
    step = _training_step(
        model, train, lambda: nats_per_code(model(codes, labels, model.encode_condition(coarser)), codes)
    )
    flops = (1 + BACKWARD) * train.batch_size * prior_costs(config, dense=True).total.flops
    return Stage(f"{recipe.name} prior-{level}", step, flops, _tensors(model))


def _training_step(
    model: nn.Module, train: TrainConfig, loss: Callable[[], Tensor], end_step: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    optimizer = make_optimizer(model, train)
    average = [parameter.detach().clone() for parameter in model.parameters()] if train.ema_decay else []

    def step() -> None:
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), train.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        end_step()
        with torch.no_grad():
            for mean, parameter in zip(average, model.parameters(), strict=False):
                mean.lerp_(parameter, 1 - train.ema_decay)

    return step


def _tensors(model: nn.Module) -> int:
    return sum(1 for _ in model.parameters())


def time_in_turn(stages: list[Stage], seconds: float) -> None:
    """Times a few steps of each stage in turn, until `seconds` are over."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not stages[-1].seconds:
        for stage in stages:
            stage.step()  # finds the caches of another stage, so it does not count
            for _ in range(_STEPS_A_TURN):
                stage.seconds.append(seconds_of(stage.step))


def main() -> None:
    """Prints measured and estimated times of training steps and samples, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["digits", "fashion-mnist"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "plan.json")
    arguments = parser.parse_args()
    device = Compute.resolve(arguments.device).device
    recipes = [read_recipe(find_recipe(name)) for name in arguments.recipes]
    stages = [
        stage
        for recipe in recipes
        for stage in (vqvae_stage(recipe, device), *(prior_stage(recipe, level, device) for level in recipe.levels))
    ]
    machines = [measure_machine(device)]
    time_in_turn(stages, arguments.seconds)
    machines.append(measure_machine(device))
    machine = max(machines, key=lambda machine: machine.peak_flops)  # other work may have slowed one down
    rows = [_row(stage, machine) for stage in stages]
    samples = [row for recipe in recipes for level in recipe.levels for row in _samples(recipe, level, device, machine)]
    print(f"peak {machine.peak_flops / 1e9:.0f} GFLOP/s")
    print_table(rows)
    print_table(samples)
    write_json(arguments.json, {"peak_flops": machine.peak_flops, "rows": rows, "samples": samples})


def _samples(recipe: Recipe, level: Level, device: torch.device, machine: Machine) -> list[dict[str, object]]:
    """Times a single image and a batch of one level, in the recipe's order and in raster order."""
    rows: list[dict[str, object]] = []
    for slope, batch in product((recipe.prior(level).slope, "raster"), (1, recipe.generate.batch_size)):
        config = recipe.prior_config(level, _CLASSES).model_copy(update={"slope": slope})
        request = Request(PixelCNN(config).to(device).eval(), batch, Compute(device))
        sampler = fastest_sampler(device)
        # On a GPU the second map is recorded.
        times = interleaved_medians({"sample": partial(request.sample, sampler)}, repeats=3, warm_ups=2)
        estimate = sampling_seconds(machine, SampleRequest(config, batch, batch))
        rows.append(
            {
                "samples": f"{recipe.name} {level}",
                "slope": slope,
                "batch": batch,
                "seconds": times["sample"],
                "estimated_seconds": estimate,
                "estimate_over_measured": estimate / times["sample"],
            }
        )
    return rows


def _row(stage: Stage, machine: Machine) -> dict[str, object]:
    measured = statistics.median(stage.seconds)
    ideal = stage.flops / machine.peak_flops
    estimate = training_seconds(machine, stage.flops, 1, stage.tensors)
    return {
        "stage": stage.name,
        "ms_per_step": 1e3 * measured,
        "estimated_ms": 1e3 * estimate,
        "estimate_over_measured": estimate / measured,
        "share_of_peak": ideal / measured,
        "ms_at_peak": 1e3 * ideal,
        "tensors": stage.tensors,
    }


if __name__ == "__main__":
    run_main(main)
