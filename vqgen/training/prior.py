"""The training of a prior on the codes of a store.

Legend: `b` batch, `k` codebook entries, `h w` grid of the level, `hc wc` grid of the coarser level.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vqgen.config import PixelCNNConfig, TrainConfig
from vqgen.data import CodeStore
from vqgen.data.code_batches import TRAINING_SPLITS, CodeBatches, LabelContrast, read_batch
from vqgen.data.wrong_labels import WrongLabels
from vqgen.models.pixelcnn import PixelCNN
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.training.losses import label_contrast, nats_of_images, nats_per_code
from vqgen.training.objective import Objective, Session
from vqgen.training.schedule import contrasted_steps, guide_step, input_dropout_steps, training_order
from vqgen.training.trainer import Trainer

_VALIDATION_BATCH = 64
"""Images validated at a time."""


class PriorObjective(Objective):
    """The negative log-likelihood of a level's codes, and the label contrast in the steps that have it.

    Args:
        model: The prior.
        store: The codes to validate on.
        compute: Device and dtype of the validation.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        input_dropout_steps: Number of first steps that drop codes from the input; None for all steps.
        first_contrast: Place in the schedule of the first step that contrasts labels; 0 without a contrast.
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
        first_contrast: int = 0,
    ) -> None:
        super().__init__()
        self.model: PixelCNN = model
        self._store = store
        self._compute = compute
        self._rank = rank
        self._world_size = world_size
        self._input_dropout_steps = input_dropout_steps
        self._first_contrast = first_contrast

    def begin_step(self, step: int, seed: int) -> None:
        """Turns the dropout of input codes off for the last steps: they train on whole inputs, as in sampling."""
        self.model.input_dropout = self._input_dropout_steps is None or step < self._input_dropout_steps

    def validation_counts(self, step: int, place: int | float) -> bool:
        """Returns True once labels are contrasted: in nats alone, weights before the contrast may be better."""
        return place >= self._first_contrast

    def forward(
        self,
        codes: Int64[Tensor, "b h w"],
        coarser: Int64[Tensor, "b hc wc"] | None,
        labels: Int64[Tensor, " b"],
        uniforms: Float[Tensor, " b"],
        mirrored: Bool[Tensor, " b"],
        wrong_labels: Int64[Tensor, " b"] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss of one micro-batch; the arguments are the fields of a `CodeBatch`.

        Returns:
            The mean nats per code, plus the weighted label contrast if there are wrong labels; and its parts by name.
        """
        dropped = self.model.drop_labels(labels, uniforms)
        if wrong_labels is None:
            nats = nats_per_code(self._logits(codes, coarser, dropped, mirrored), codes)
            return nats, self._parts(nats, nats.new_zeros(()))
        # Every image goes through the network under its true and under a wrong label, as one batch of twice the size.
        twice = codes.repeat(2, 1, 1)
        coarser_twice = None if coarser is None else coarser.repeat(2, 1, 1)
        logits = self._logits(twice, coarser_twice, torch.cat([dropped, wrong_labels]), mirrored.repeat(2))
        of_true, of_wrong = nats_of_images(logits, twice).chunk(2)
        # An image whose label was dropped, or that has none, has no true label to contrast. It still counts in the
        # mean, so that the halves of a batch have the loss of the whole.
        has_label = (dropped >= 0) & (dropped != self.model.null_label)
        nats = of_true.mean()
        contrast = (label_contrast(of_true, of_wrong) * has_label).mean()
        # Both are nats of an image. Divided by the number of codes, the loss keeps the scale of the other steps.
        per_code = 1 / codes[0].numel()
        weighted = self.model.config.label_contrast * contrast
        return (nats + weighted) * per_code, self._parts(nats * per_code, contrast)

    def _logits(self, codes: Tensor, coarser: Tensor | None, labels: Tensor, mirrored: Tensor) -> Tensor:
        condition = self.model.encode_condition(coarser)
        return self.model(codes, labels, condition, mirrored if self.model.config.mirror_conditioned else None)

    def _parts(self, nats: Tensor, contrast: Tensor) -> dict[str, Tensor]:
        """Returns the parts of the loss by name, for metrics.jsonl; empty if the loss has only one part."""
        if not self.model.config.label_contrast:
            return {}
        return {"nats_per_code": nats.detach(), "label_contrast": contrast.detach()}

    def validate(self) -> dict[str, float]:
        """Computes nats and bits per code over the whole validation set."""
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
    """Computes the mean nats per code of a split under its labels, over all processes.

    Args:
        model: The prior.
        store: The codes.
        split: Name of the split.
        compute: Device and dtype of the computation.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        most: Largest number of images, evenly spaced in the split; None for all.
    """
    device = next(model.parameters()).device
    split_size = store.info.counts[split]
    count = min(split_size, most or split_size)
    # Each process takes a contiguous share; shares differ by one image at most.
    share = range(count * rank // world_size, count * (rank + 1) // world_size)
    indices = [place * split_size // count for place in share]
    # Sums in float64, divided at the end: means of unequal batches and shares would not add up.
    total = torch.zeros(2, dtype=torch.float64, device=device)
    for begin in range(0, len(indices), _VALIDATION_BATCH):
        chosen = indices[begin : begin + _VALIDATION_BATCH]
        batch = read_batch(store, split, model.config, chosen, [0.0] * len(chosen))  # no label is dropped
        coarser = None if batch.coarser is None else batch.coarser.to(device)
        with compute.autocast():
            condition = model.encode_condition(coarser)
            likelihood = model.log_likelihood(batch.codes.to(device), batch.labels.to(device), condition)
        total += torch.stack([-likelihood.sum(), likelihood.new_tensor(batch.codes.numel())])
    nats, codes = all_reduce_sum(total).tolist()
    return nats / codes


@dataclass(frozen=True)
class FittedPrior:
    """The result of the training of a prior.

    Attributes:
        model: The prior with the weights of the best validation.
        metrics: The metrics of that validation.
        guide: The prior after the first steps of its training; None if no guide was requested, or if patience ended the
            training before.
    """

    model: PixelCNN
    metrics: dict[str, int | float]
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
    """Trains a prior on the codes of a store, from its random start or from the saved state in the session's folder.

    Args:
        config: The prior, for a level and grid of the store.
        train: The settings of the training.
        store: Codes of the training and validation images.
        session: Processes, seed and folder.
        compute: Device and dtype of the validation.
        guide_share: Share of the steps after which the guide is copied, in [0, 1); 0 for no guide.

    Returns:
        The prior with the weights of the best validation, the metrics of that validation, and the guide.
    """
    rank = session.accelerator.process_index
    world_size = session.accelerator.num_processes
    seed = derive_seed(session.seed, session.stage)
    torch.manual_seed(derive_seed(seed, "init"))  # the same weights in every process
    model = PixelCNN(config)
    num_images = sum(store.info.counts.get(split, 0) for split in TRAINING_SPLITS)
    order = training_order(train, num_images, seed, world_size)
    contrast = _contrast(config, store, order.num_steps)
    dropout_steps = input_dropout_steps(config, order.num_steps)
    first_contrast = 0 if contrast is None else contrast.first_step
    objective = PriorObjective(model, store, compute, rank, world_size, dropout_steps, first_contrast)
    batches = CodeBatches(store, config, order, seed, rank, world_size, contrast)
    snapshot_step = guide_step(guide_share, order.num_steps)
    trainer = Trainer(objective, batches, train, order.num_steps, session, snapshot_step=snapshot_step)
    metrics = trainer.train()
    return FittedPrior(model, metrics, _guide(model, trainer.snapshot))


def _guide(model: PixelCNN, state: dict[str, Tensor]) -> PixelCNN | None:
    """Builds the guide from a snapshot; None if the snapshot is empty."""
    if not state:
        return None
    guide = PixelCNN(model.config).to(model.embedding.weight)  # with the device and dtype of the prior
    guide.load_state_dict(state)
    return guide


def _contrast(config: PixelCNNConfig, store: CodeStore, num_steps: int) -> LabelContrast | None:
    if not config.label_contrast:
        return None
    # Only the last steps contrast labels, because a step with wrong labels takes about twice as long.
    first_step = num_steps - contrasted_steps(config, num_steps)
    return LabelContrast(first_step, WrongLabels(store, config.level, config.num_classes))
