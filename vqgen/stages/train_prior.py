"""Stage two: train the PixelCNN of one level on stored codes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vqgen.checkpoint import hash_model, save_model
from vqgen.compute import Compute
from vqgen.config import Level, TrainConfig
from vqgen.data import CodeStore, TrainingOrder
from vqgen.losses import nats_per_code
from vqgen.metrics_log import read_metrics
from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.collective import all_reduce_sum
from vqgen.randomness import derive_seed
from vqgen.report import plot_losses
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.bookkeeping import begin_stage, complete_stage, require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.gate import check_codes
from vqgen.stages.schedule import training_order
from vqgen.training import Objective, Trainer

_VALIDATION_BATCH = 64


@dataclass(frozen=True)
class CodeBatch:
    """Codes of one level for training.

    Attributes:
        codes: `(b, h, w)` int64.
        coarser: `(b, h', w')` int64, the codes that condition them; None at the coarsest level.
        labels: `(b,)` int64, -1 without a label.
        uniforms: `(b,)` in [0, 1), from which label dropout decides.
    """

    codes: Tensor
    coarser: Tensor | None
    labels: Tensor
    uniforms: Tensor


class CodeBatches:
    """One process's training batches from a code store.

    Args:
        store: The codes.
        level: Level to learn.
        order: Which images each step sees.
        seed: The stage's seed.
        rank: This process.
        world_size: All processes.
    """

    def __init__(
        self, store: CodeStore, level: str, order: TrainingOrder, seed: int, rank: int, world_size: int
    ) -> None:
        self.store, self.level, self.order, self.seed = store, level, order, seed
        self.rank, self.world_size = rank, world_size

    def steps(self, start: int) -> Iterator[CodeBatch]:
        """This process's share of each step's batch from `start` on."""
        for step in range(start, self.order.num_steps):
            positions, indices = self.order.share(step, self.rank, self.world_size)
            uniforms = [derive_seed(self.seed, "label", position) / 2**63 for position in positions]
            yield read_batch(self.store, "train", self.level, indices, torch.tensor(uniforms))

    def global_size(self, step: int) -> int:
        """Images of a step's batch over all processes."""
        return self.order.size(step)


def read_batch(store: CodeStore, split: str, level: str, indices: list[int], uniforms: Tensor) -> CodeBatch:
    """Reads a level's codes, those that condition it, and labels."""
    codes, labels = store.batch(split, indices)
    place = codes.levels.index(level)
    coarser = codes.grids[codes.levels[place - 1]] if place else None
    return CodeBatch(codes.grids[level], coarser, labels, uniforms)


class PriorObjective(Objective):
    """Negative log-likelihood of a level's codes.

    Args:
        model: The prior.
        store: The codes, for validation.
        compute: Number format of the computation.
        rank: This process.
        world_size: All processes.
    """

    monitor = "nats_per_code"

    def __init__(self, model: PixelCNN, store: CodeStore, compute: Compute, rank: int, world_size: int) -> None:
        super().__init__()
        self.model: PixelCNN = model
        self._store, self._compute, self._rank, self._world_size = store, compute, rank, world_size

    def forward(
        self, codes: Tensor, coarser: Tensor | None, labels: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the mean nats per code of one micro-batch."""
        dropped = self.model.drop_labels(labels, uniforms)
        logits = self.model(codes, dropped, self.model.encode_condition(coarser))
        return nats_per_code(logits, codes), {}

    def validate(self) -> dict[str, float]:
        """Nats and bits per code over the whole validation set."""
        nats = mean_nats_per_code(self.model, self._store, "validation", self._compute, self._rank, self._world_size)
        return {"nats_per_code": nats, "bits_per_code": nats / math.log(2)}


@torch.no_grad()
def mean_nats_per_code(
    model: PixelCNN, store: CodeStore, split: str, compute: Compute, rank: int = 0, world_size: int = 1
) -> float:
    """Mean nats per code of a split with its labels, over all processes."""
    device = next(model.parameters()).device
    total = torch.zeros(2, dtype=torch.float64, device=device)
    count = store.info.counts[split]
    indices = list(range(count * rank // world_size, count * (rank + 1) // world_size))
    for begin in range(0, len(indices), _VALIDATION_BATCH):
        chosen = indices[begin : begin + _VALIDATION_BATCH]
        batch = read_batch(store, split, model.config.level, chosen, torch.zeros(len(chosen)))
        coarser = None if batch.coarser is None else batch.coarser.to(device)
        with compute.autocast():
            condition = model.encode_condition(coarser)
            likelihood = model.log_likelihood(batch.codes.to(device), batch.labels.to(device), condition)
        total += torch.stack([-likelihood.sum(), likelihood.new_tensor(batch.codes.numel())])
    nats, codes = all_reduce_sum(total).tolist()
    return nats / codes


def train_prior(context: RunContext, level: Level) -> str:
    """Trains the prior of one level and adds it to `pipeline/`.

    Returns:
        The model's SHA-256.
    """
    recipe, stage = context.recipe, f"prior-{level}"
    train: TrainConfig = recipe.prior(level).train
    context.check_batch(f"priors.{recipe.levels.index(level)}.train", train)
    vqvae_hash, codes_hash = require_stage(context, "vqvae").output, require_stage(context, "codes").output
    action, record = begin_stage(context, stage, {"vqvae": vqvae_hash, "codes": codes_hash})
    if action == "skip":
        context.say(f"{stage}: complete")
        return record.output
    store = CodeStore(context.folder / "codes", vqvae_hash)
    check_codes(context, store)
    seed = derive_seed(recipe.seed, stage)
    torch.manual_seed(derive_seed(seed, "init"))
    model = PixelCNN(recipe.prior_config(level, len(store.info.label_map)))
    objective = PriorObjective(model, store, context.compute, context.rank, context.world_size)
    order = training_order(train, store.info.counts["train"], seed, context.world_size)
    batches = CodeBatches(store, level, order, seed, context.rank, context.world_size)
    figures = Trainer(objective, batches, train, order.num_steps, context.session(stage)).train()
    nats = mean_nats_per_code(model, store, "train", context.compute, context.rank, context.world_size)
    figures |= {
        "train_nats_per_code": nats,
        "val_bpp": _bpp(model, figures["val_bits_per_code"], recipe.data.image_size),
    }
    folder = context.folder / stage
    context.on_main(lambda: save_model(model, folder / "model", {"vqvae": vqvae_hash, "codes": codes_hash}))
    context.on_main(lambda: plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _PLOTTED))
    output = hash_model(folder / "model")
    complete_stage(context, record, output, figures)
    context.on_main(lambda: write_pipeline(context, store.info.label_map, store.info.indices))
    context.say(f"{stage}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return output


_PLOTTED = ("loss", "val_nats_per_code")


def _bpp(model: PixelCNN, bits_per_code: float, image_size: int) -> float:
    """Bits of this level's codes per pixel of the image."""
    return bits_per_code * model.config.height * model.config.width / image_size**2
