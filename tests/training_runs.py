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

from vqgen.config import TrainConfig, VQVAEConfig
from vqgen.data import TrainingOrder
from vqgen.evaluation.pixel_errors import mse_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums
from vqgen.models.vqvae import VQVAE
from vqgen.training.losses import vqvae_loss
from vqgen.training.objective import Objective, Session
from vqgen.training.schedule import training_order
from vqgen.training.trainer import Trainer

NUM_IMAGES = 57
STEPS = 12

VQVAE_SETTINGS: dict[str, Any] = {
    "downsample": (4, 2), "codebook_size": 24, "embedding_dim": 4, "channels": 8, "residual_channels": 4,
    "residual_layers": 1, "image_size": 8, "image_channels": 1, "codebook_decay": 0.9, "restart_after": 5,
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

    def __init__(self, model: VQVAE, rank: int, world_size: int, noise: float) -> None:
        super().__init__()
        self.model: VQVAE = model
        self.rank = rank
        self.world_size = world_size
        self.noise = noise

    def forward(self, images: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if self.noise:
            images = images + self.noise * torch.randn_like(images)
        return vqvae_loss(self.model(images), images, 0.25)

    def compiled_parts(self) -> list[torch.nn.Module]:
        return [*self.model.encoders, self.model.decoder]

    def begin_step(self, step: int, seed: int) -> None:
        self.model.seed_step(seed)

    def end_step(self) -> None:
        self.model.update_codebooks()

    def validate(self) -> dict[str, float]:
        codebook = self.model.quantizers[0].codebook
        sums = ReconstructionSums(self.model.levels, self.model.config.codebook_size, codebook.device)
        own = images().to(codebook.dtype)[:20][self.rank :: self.world_size]
        output = self.model(own)
        sums.add(mse_per_image(output.reconstruction, own), dict(output.codes.grids))
        return sums.result()


def make_trainer(
    folder: Path,
    *,
    train: dict[str, Any] | None = None,
    vqvae: dict[str, Any] | None = None,
    double: bool = True,
    noise: float = 0.0,
    snapshot_step: int | None = None,
    continued_from: int | None = None,
    accelerator: Accelerator | None = None,
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
    session = Session("vqvae", 0, accelerator, folder, double=double, quiet=True, continued_from=continued_from)
    objective = TinyObjective(model, rank, world_size, noise)
    return Trainer(objective, batches, config, order.num_steps, session, snapshot_step=snapshot_step)


def train_in_group(folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Trains to the end and returns, as lists, everything that must agree between (numbers of) processes."""
    trainer = make_trainer(Path(folder), **settings)
    shares = []
    restarts = []
    for quantizer in trainer.objective.model.quantizers:
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
