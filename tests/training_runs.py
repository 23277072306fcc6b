"""A tiny training of a whole VQ-VAE by the training loop, in one process or in several, and ways to disturb it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from vqgen.config import ClassifierConfig, LossSettings, TrainConfig, VQVAEConfig
from vqgen.data import TrainingOrder
from vqgen.evaluation.pixel_errors import mse_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums
from vqgen.models.checkpoint import load_model, save_model
from vqgen.models.classifier import Classifier
from vqgen.models.vqvae import VQVAE
from vqgen.models.warm_start import shared_weights, take_weights
from vqgen.nn.quantizers.ema import EmaQuantizer
from vqgen.training.adversary import Adversary
from vqgen.training.image_losses import ImageLosses, last_kernel
from vqgen.training.losses import vqvae_loss
from vqgen.training.objective import Limit, Objective, Opponent, Session
from vqgen.training.perceptual import ClassifierDistance
from vqgen.training.schedule import training_order
from vqgen.training.trainer import Trainer

NUM_IMAGES = 57
STEPS = 12

VQVAE_SETTINGS: dict[str, Any] = {
    "downsample": (4, 2), "codebook_size": 24, "embedding_dim": 4, "channels": 8, "residual_channels": 4,
    "residual_layers": 1, "image_size": 8, "image_channels": 1, "codebook_decay": 0.9, "restart_after": 5,
}  # fmt: skip

RESIDUAL: dict[str, Any] = {
    "architecture": "residual", "upsampling": "nearest", "channel_multipliers": (1, 2), "attention_heads": 2,
}  # fmt: skip

TRAIN_SETTINGS: dict[str, Any] = {
    "steps": STEPS, "batch_size": 8, "learning_rate": 2e-3, "warmup_steps": 3, "validate_every": 4, "save_every": 4,
    "log_every": 3,
}  # fmt: skip


def images() -> Tensor:
    """Draws smooth images in [-1, 1], `(n, 1, 8, 8)` float64."""
    draws = torch.Generator().manual_seed(7)
    coarse = torch.rand(NUM_IMAGES, 1, 4, 4, dtype=torch.float64, generator=draws) * 2 - 1
    return torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")


@dataclass(frozen=True)
class Batch:
    images: Tensor
    positions: Tensor


class TinyBatches:
    def __init__(self, order: TrainingOrder, dtype: torch.dtype, rank: int, world_size: int) -> None:
        self.order = order
        self.images = images().to(dtype)
        self.rank = rank
        self.world_size = world_size

    def steps(self, start: int) -> Iterator[Batch]:
        for step in range(start, self.order.num_steps):
            positions, indices = self.order.share(step, self.rank, self.world_size)
            yield Batch(self.images[indices], torch.tensor(positions))

    def global_size(self, step: int) -> int:
        return self.order.size(step)


class TinyObjective(Objective):
    """A VQ-VAE with noise on its images. The noise comes from the global generator, like dropout."""

    monitor = "mse"

    def __init__(
        self,
        model: VQVAE,
        rank: int,
        world_size: int,
        noise: float,
        hides: bool = False,
        losses: ImageLosses | None = None,
    ) -> None:
        super().__init__()
        self.losses = losses
        self.model: VQVAE = model
        self.hides = hides
        self.rank = rank
        self.world_size = world_size
        self.noise = noise

    def forward(self, images: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.noise:
            images = images + self.noise * torch.randn_like(images)
        levels = 1 + (positions % 3 > 0).long() if self.hides else None  # a third of the images decodes the top alone
        highest = self.model.config.quantizer.rate_weight
        prices = highest * (positions % 5) / 4 if highest else None
        output = self.model(images, levels, prices)
        if self.losses is None:
            return vqvae_loss(output, images, 0.25)
        found = self.losses(output.reconstruction, images, last_kernel(self.model.decoder))
        commitment = 0.25 * sum(output.commitment_losses.values())
        return found.loss + commitment, {"loss": found.value + commitment.detach(), **found.parts}

    @property
    def opponent(self) -> Opponent | None:
        return None if self.losses is None else self.losses.adversary

    @property
    def limits(self) -> tuple[Limit, ...]:
        return () if self.losses is None else self.losses.limits

    def compiled_parts(self) -> list[torch.nn.Module]:
        model = self.model
        return [*model.encoders, *model.expanders, *model.to_latents, *model.upsamplers, model.decoder]

    def begin_step(self, step: int, seed: int) -> None:
        self.model.seed_step(seed)
        if self.losses is not None:
            self.losses.begin_step(step)

    def end_step(self) -> None:
        self.model.update_codebooks()
        if self.losses is not None:
            self.losses.end_step()

    def validation_counts(self, step: int, place: int | float) -> bool:
        return self.opponent is None

    def statistics(self) -> list[Tensor]:
        return self.model.statistics()

    def statistics_steps(self) -> int:
        return self.model.codebook_moves

    def use_statistics(self) -> None:
        self.model.refit_codebooks()

    def validate(self) -> dict[str, float]:
        weight = next(self.model.parameters())
        sums = ReconstructionSums(self.model.levels, self.model.config.codebook_size, weight.device)
        own = images().to(weight.dtype)[:20][self.rank :: self.world_size]
        output = self.model(own)
        sums.add(mse_per_image(output.reconstruction, own), dict(output.codes.grids))
        return sums.result()


ADVERSARIAL: dict[str, Any] = {
    "perceptual": "classifier", "perceptual_weight": 0.5, "adversarial": "hinge", "adversarial_start": 5,
    "discriminator_channels": 8, "discriminator_layers": 1, "r1_weight": 0.3, "r1_every": 2, "lecam_weight": 0.05,
}  # fmt: skip
"""Losses of all kinds, with an adversary from the sixth step on."""


def make_losses(**settings: Any) -> ImageLosses:
    """Builds losses of 8 x 8 grey images. The features are those of a random classifier."""
    chosen = LossSettings(**settings)
    torch.manual_seed(2)
    config = ClassifierConfig(channels=8, stages=2, image_size=8, image_channels=1, num_classes=3)
    perceptual = ClassifierDistance(Classifier(config)) if chosen.perceptual != "none" else None
    torch.manual_seed(3)
    adversary = Adversary(chosen, 1) if chosen.has_adversary else None
    return ImageLosses(chosen, perceptual, adversary, start=chosen.start(STEPS))


def save_another(folder: Path) -> Path:
    """Saves a model of the same sizes whose codebooks are in use."""
    torch.manual_seed(5)
    other = VQVAE(VQVAEConfig(**VQVAE_SETTINGS)).double()
    for _ in range(3):
        other(images())
        other.update_codebooks()
    save_model(other, folder)
    return folder


def start_from(folder: Path, model: torch.nn.Module) -> None:
    """Gives a model the weights of a saved one."""
    other = load_model(folder, VQVAE)
    take_weights(model, other, shared_weights(model, other), {})


def make_trainer(
    folder: Path,
    *,
    train: dict[str, Any] | None = None,
    vqvae: dict[str, Any] | None = None,
    double: bool = True,
    noise: float = 0.0,
    hides: bool = False,
    snapshot_step: int | None = None,
    continued_from: int | None = None,
    accelerator: Accelerator | None = None,
    losses: dict[str, Any] | None = None,
    start: Callable[[torch.nn.Module], object] | None = None,
) -> Trainer:
    """Builds the trainer of this process of the group, with changes to the settings above."""
    # Without this argument DDP copies buffers from rank 0, and would hide codebooks that differ between processes.
    plain = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    accelerator = accelerator or Accelerator(cpu=True, kwargs_handlers=plain)
    rank = accelerator.process_index
    world_size = accelerator.num_processes
    config = TrainConfig(**(TRAIN_SETTINGS | (train or {})))
    torch.manual_seed(1)
    model = VQVAE(VQVAEConfig(**(VQVAE_SETTINGS | (vqvae or {}))))
    order = training_order(config, NUM_IMAGES, 3, world_size)
    batches = TinyBatches(order, torch.float64 if double else torch.float32, rank, world_size)
    session = Session(
        "vqvae", 0, accelerator, folder, double=double, quiet=True, continued_from=continued_from, start=start
    )
    found = None if losses is None else make_losses(**losses)
    objective = TinyObjective(model, rank, world_size, noise, hides, found)
    return Trainer(objective, batches, config, order.num_steps, session, snapshot_step=snapshot_step)


def train_in_group(folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Trains to the end and returns, as lists, everything that must agree between (numbers of) processes."""
    trainer = make_trainer(Path(folder), **settings)
    shares = []
    restarts = []
    for quantizer in trainer.objective.model.quantizers:
        if not isinstance(quantizer, EmaQuantizer):
            continue
        real = quantizer._restart_idle_codes

        def counted(latents: Tensor, real: Any = real, quantizer: Any = quantizer) -> None:
            restarts.append(int((quantizer.idle_steps >= quantizer.restart_after).sum()))
            real(latents)

        quantizer._restart_idle_codes = counted
    steps = trainer.batches.steps

    def watched(start: int) -> Iterator[Batch]:
        for batch in steps(start):
            shares.append(len(batch.images))
            yield batch

    trainer.batches.steps = watched
    metrics = trainer.train()
    trainer.accelerator.wait_for_everyone()
    return {
        "processes": trainer.accelerator.num_processes,
        "shares": shares,
        "restarts": sum(restarts),
        "metrics": metrics,
        "weights": {name: tensor.tolist() for name, tensor in trainer.objective.model.state_dict().items()},
        "opponent": {} if trainer.opponent is None else {n: t.tolist() for n, t in trainer.opponent.state().items()},
        "lines": [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()],
    }


class Cut(Exception):
    """A stand-in for SIGKILL: nothing is saved on the way out."""


def cut_at(trainer: Trainer, step: int) -> None:
    """Makes the trainer die in its step number `step`, counted from 0."""
    real = trainer.objective.begin_step

    def begin_step(now: int, seed: int) -> None:
        if now == step:
            raise Cut
        real(now, seed)

    trainer.objective.begin_step = begin_step


def at_step(trainer: Trainer, step: int, act: Callable[[], object]) -> None:
    """Calls `act` at the start of a step."""
    real = trainer.objective.begin_step

    def begin_step(now: int, seed: int) -> None:
        if now == step:
            act()
        real(now, seed)

    trainer.objective.begin_step = begin_step


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Computes the largest difference between the weights of two runs, codebooks included."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.objective.model.state_dict().items()}
