"""How near does `vqgen plan` come? Times training steps of recipes as they ship, beside the plan's estimate.

    python -m benchmarks.plan [RECIPE ...] [--seconds 60]

The steps run on random images and codes: a plain loop of loss, backward pass, clipping, optimizer and average. Stages
take turns, and the median counts. From the last two columns follow `SHARE` and `SECONDS_PER_TENSOR` of
`vqgen/stages/planning.py`: measured time = seconds at the peak / SHARE + tensors * SECONDS_PER_TENSOR.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vqgen.config import Level, Recipe, TrainConfig, find_recipe, read_recipe
from vqgen.costs import BACKWARD, prior_costs, vqvae_costs
from vqgen.losses import nats_per_code, vqvae_loss
from vqgen.machine import measure_machine
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.stages.planning import training_seconds
from vqgen.training import make_optimizer

_CLASSES = 10

_STEPS_A_TURN = 4


@dataclass
class Stage:
    """A stage whose steps are timed.

    Attributes:
        name: Recipe and stage.
        step: One training step.
        flops: Its operations.
        tensors: Weight tensors of its model.
        seconds: Times of the steps so far.
    """

    name: str
    step: Callable[[], None]
    flops: int
    tensors: int
    seconds: list[float] = field(default_factory=list)


def vqvae_stage(recipe: Recipe) -> Stage:
    """The first stage of a recipe, past its warm-up."""
    config, train = recipe.vqvae_config().model_copy(update={"quantize_after": 0}), recipe.vqvae.train
    model = VQVAE(config)
    images = torch.rand(train.batch_size, config.image_channels, config.image_size, config.image_size) * 2 - 1
    step = _training_step(
        model, train, lambda: vqvae_loss(model(images), images, config.commitment_weight)[0], model.update_codebooks
    )
    return Stage(f"{recipe.name} vqvae", step, train.batch_size * vqvae_costs(config).train_flops, _tensors(model))


def prior_stage(recipe: Recipe, level: Level) -> Stage:
    """The training of one level's prior."""
    config, train = recipe.prior_config(level, _CLASSES), recipe.prior(level).train
    model, labels = PixelCNN(config), torch.randint(_CLASSES, (train.batch_size,))

    def random_codes(height: int, width: int) -> Tensor:
        return torch.randint(config.codebook_size, (train.batch_size, height, width))

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
    """Times a few steps of each stage in turn, until `seconds` are over; the first of a turn finds cold caches."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not stages[-1].seconds:
        for stage in stages:
            stage.step()
            for _ in range(_STEPS_A_TURN):
                begin = time.perf_counter()
                stage.step()
                stage.seconds.append(time.perf_counter() - begin)


def main() -> None:
    """Prints measured and estimated times of a training step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["digits", "fashion-mnist"])
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    recipes = [read_recipe(find_recipe(name)) for name in arguments.recipes]
    stages = [
        stage
        for recipe in recipes
        for stage in (vqvae_stage(recipe), *(prior_stage(recipe, level) for level in recipe.levels))
    ]
    machines = [measure_machine(torch.device("cpu"))]
    time_in_turn(stages, arguments.seconds)
    machines.append(measure_machine(torch.device("cpu")))
    machine = max(machines, key=lambda machine: machine.peak_flops)  # other work may have slowed one down
    print(f"peak {machine.peak_flops / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'stage':<28}{'ms a step':>10}{'estimate':>10}{'ratio':>7}{'share':>7}{'ms at peak':>12}{'tensors':>9}")
    for stage in stages:
        measured, ideal = statistics.median(stage.seconds), stage.flops / machine.peak_flops
        estimate = training_seconds(machine, stage.flops, 1, stage.tensors)
        print(
            f"{stage.name:<28}{1e3 * measured:>10.1f}{1e3 * estimate:>10.1f}{estimate / measured:>7.2f}"
            f"{ideal / measured:>7.2f}{1e3 * ideal:>12.2f}{stage.tensors:>9}"
        )


if __name__ == "__main__":
    main()
