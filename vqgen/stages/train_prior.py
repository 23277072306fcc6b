"""Stage two: train the PixelCNN of one level on stored codes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqgen.config import Level, PixelCNNConfig, TrainConfig
from vqgen.data import CodeStore
from vqgen.data.code_batches import TRAINING_SPLITS, CodeBatches, LabelContrast, read_batch
from vqgen.data.wrong_labels import WrongLabels, check_label_contrast
from vqgen.models.checkpoint import save_model
from vqgen.models.pixelcnn import PixelCNN
from vqgen.reports.plots import plot_losses
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.gate import check_codes
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.training.losses import label_contrast, nats_of_images, nats_per_code
from vqgen.training.metrics_log import read_metrics
from vqgen.training.objective import Objective, Session
from vqgen.training.schedule import contrasted_steps, guide_step, input_dropout_steps, training_order
from vqgen.training.trainer import Trainer

_VALIDATION_BATCH = 64

_CURVES = {"loss": "training", "val_nats_per_code": "validation"}


class PriorObjective(Objective):
    """Negative log-likelihood of a level's codes.

    Args:
        model: The prior.
        store: The codes, for validation.
        compute: Number format of the computation.
        rank: This process.
        world_size: All processes.
        input_dropout_steps: Steps, the first ones, that drop codes from the input; None for all.
    """

    monitor = "nats_per_code"

    def __init__(
        self,
        model: PixelCNN,
        store: CodeStore,
        compute: Compute,
        rank: int,
        world_size: int,
        input_dropout_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.model: PixelCNN = model
        self._store, self._compute, self._rank, self._world_size = store, compute, rank, world_size
        self._input_dropout_steps = input_dropout_steps

    def begin_step(self, step: int, seed: int) -> None:
        """Turns the dropout of codes on, or off for the last steps."""
        self.model.input_dropout = self._input_dropout_steps is None or step < self._input_dropout_steps

    def forward(
        self,
        codes: Tensor,
        coarser: Tensor | None,
        labels: Tensor,
        uniforms: Tensor,
        mirrored: Tensor,
        wrong_labels: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the mean nats per code of one micro-batch, and what telling labels apart adds to them."""
        dropped = self.model.drop_labels(labels, uniforms)
        if wrong_labels is None:
            nats = nats_per_code(self._logits(codes, coarser, dropped, mirrored), codes)
            return nats, self._parts(nats, nats.new_zeros(()))
        twice, coarser_twice = codes.repeat(2, 1, 1), None if coarser is None else coarser.repeat(2, 1, 1)
        logits = self._logits(twice, coarser_twice, torch.cat([dropped, wrong_labels]), mirrored.repeat(2))
        of_true, of_wrong = nats_of_images(logits, twice).chunk(2)
        has_label = (dropped >= 0) & (dropped != self.model.null_label)
        nats, contrast = of_true.mean(), (label_contrast(of_true, of_wrong) * has_label).mean()
        per_code = 1 / codes[0].numel()
        weighted = self.model.config.label_contrast * contrast
        return (nats + weighted) * per_code, self._parts(nats * per_code, contrast)

    def _logits(self, codes: Tensor, coarser: Tensor | None, labels: Tensor, mirrored: Tensor) -> Tensor:
        told = mirrored if self.model.config.mirror_conditioned else None
        return self.model(codes, labels, self.model.encode_condition(coarser), told)

    def _parts(self, nats: Tensor, contrast: Tensor) -> dict[str, Tensor]:
        """Parts of the loss by name: what metrics.jsonl has beside it."""
        if not self.model.config.label_contrast:
            return {}
        return {"nats_per_code": nats.detach(), "label_contrast": contrast.detach()}

    def validate(self) -> dict[str, float]:
        """Nats and bits per code over the whole validation set."""
        nats = mean_nats_per_code(self.model, self._store, "validation", self._compute, self._rank, self._world_size)
        return {"nats_per_code": nats, "bits_per_code": nats / math.log(2)}


@torch.no_grad()
def mean_nats_per_code(
    model: PixelCNN,
    store: CodeStore,
    split: str,
    compute: Compute,
    rank: int = 0,
    world_size: int = 1,
    *,
    most: int | None = None,
) -> float:
    """Mean nats per code of a split with its labels, over all processes; of at most `most` images, evenly spaced."""
    device = next(model.parameters()).device
    total = torch.zeros(2, dtype=torch.float64, device=device)
    split_size = store.info.counts[split]
    count = min(split_size, most or split_size)
    shares = range(count * rank // world_size, count * (rank + 1) // world_size)
    indices = [place * split_size // count for place in shares]
    for begin in range(0, len(indices), _VALIDATION_BATCH):
        chosen = indices[begin : begin + _VALIDATION_BATCH]
        batch = read_batch(store, split, model.config.level, chosen, [0.0] * len(chosen))
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
        SHA-256 of the model.
    """
    recipe = context.recipe_with_codes
    train = recipe.prior(level).train
    context.check_batch(f"priors.{recipe.levels.index(level)}.train", train)
    inputs = {stage: require_stage(context, stage).output for stage in ("vqvae", "codes")}
    store = CodeStore(context.folder / "codes", inputs["vqvae"])
    check_label_contrast(recipe, len(store.info.label_map))
    stage = f"prior-{level}"

    def work(record: StageRecord) -> StageResult:
        config = recipe.prior_config(level, len(store.info.label_map))
        guide_share = recipe.prior(level).guide_share
        fitted = fit_prior(config, train, store, context.session(stage), context.compute, guide_share=guide_share)
        _keep_guide(context, stage, fitted, guide_share, inputs)
        output = save_stage_model(context, stage, fitted.model, inputs)
        context.on_main(lambda: _plot(context, stage))
        return StageResult(output, _metrics(context, fitted, store))

    return run_stage(
        context,
        stage,
        inputs,
        work,
        check=lambda: check_codes(context, store),
        finish=lambda finished: write_pipeline(context, store.info.label_map, store.info.indices, finished),
    )


def _keep_guide(
    context: RunContext, stage: str, fitted: "FittedPrior", guide_share: float, inputs: dict[str, str]
) -> None:
    """Saves the guide of a prior; warns if the training ended before there was one."""
    guide = fitted.guide
    if guide is not None:
        context.on_main(lambda: save_model(guide, context.folder / stage / "guide", inputs))
    elif guide_share:
        context.warn(
            f"{stage}: patience ended the training after {fitted.metrics['steps']} steps, before it kept a guide; "
            f"autoguidance needs one: choose a guide_share below {guide_share:g} or a larger patience, and --redo"
        )


def _metrics(context: RunContext, fitted: "FittedPrior", store: CodeStore) -> dict[str, float]:
    """Returns the metrics of the best validation, the nats of the training images, and the rate of this level."""
    config = fitted.model.config
    bits_per_image = fitted.metrics["val_bits_per_code"] * config.height * config.width
    return fitted.metrics | {
        "train_nats_per_code": mean_nats_per_code(
            fitted.model, store, "train", context.compute, context.rank, context.world_size
        ),
        "val_bpp": bits_per_image / context.recipe.data.image_size**2,
    }


def _plot(context: RunContext, stage: str) -> None:
    folder = context.folder / stage
    plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, "nats per code")


@dataclass(frozen=True)
class FittedPrior:
    """What training a prior makes.

    Attributes:
        model: The prior with the weights of the best validation.
        metrics: Those of that validation.
        guide: The prior as it was early on; None where none was asked for, or where patience ended the training before.
    """

    model: PixelCNN
    metrics: dict[str, float]
    guide: PixelCNN | None


def fit_prior(
    config: PixelCNNConfig,
    train: TrainConfig,
    store: CodeStore,
    session: Session,
    compute: Compute,
    *,
    guide_share: float = 0.0,
) -> FittedPrior:
    """Trains a prior on the codes of a store, from its random start or from where the session's folder says it was.

    Args:
        config: The prior; its level and sizes are those of the store.
        train: How to train.
        store: Codes of the training and validation images.
        session: Processes, seed and folder.
        compute: Number format of the validation.
        guide_share: Share of the steps after which to keep the guide; 0 for none.

    Returns:
        The prior with the weights of the best validation, the metrics of that validation, and the guide.
    """
    rank, world_size = session.accelerator.process_index, session.accelerator.num_processes
    seed = derive_seed(session.seed, session.stage)
    torch.manual_seed(derive_seed(seed, "init"))
    model = PixelCNN(config)
    num_images = sum(store.info.counts.get(split, 0) for split in TRAINING_SPLITS)
    order = training_order(train, num_images, seed, world_size)
    objective = PriorObjective(model, store, compute, rank, world_size, input_dropout_steps(config, order.num_steps))
    contrast = _contrast(config, store, order.num_steps)
    batches = CodeBatches(store, config.level, order, seed, rank, world_size, contrast)
    snapshot_step = guide_step(guide_share, order.num_steps)
    trainer = Trainer(objective, batches, train, order.num_steps, session, snapshot_step=snapshot_step)
    metrics = trainer.train()
    return FittedPrior(model, metrics, _guide(model, trainer.snapshot))


def _guide(model: PixelCNN, state: dict[str, Tensor]) -> PixelCNN | None:
    if not state:
        return None
    guide = PixelCNN(model.config).to(model.embedding.weight)
    guide.load_state_dict(state)
    return guide


def _contrast(config: PixelCNNConfig, store: CodeStore, num_steps: int) -> LabelContrast | None:
    if not config.label_contrast:
        return None
    first_step = num_steps - contrasted_steps(config, num_steps)
    return LabelContrast(first_step, WrongLabels(store, config.level, config.num_classes))
