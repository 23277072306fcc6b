"""The plan of a stage, and the parts of a planner that do not depend on the kind of recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import nn

from vqgen.config import BaselineRecipe, Recipe, TrainConfig
from vqgen.data import ImageCounts
from vqgen.models.classifiers import build_classifier
from vqgen.models.vqvae import VQVAE
from vqgen.models.without_weights import without_weights
from vqgen.planning.costs import BACKWARD, Cost, classifier_costs
from vqgen.planning.estimates import size_of, tensors_of, training_seconds
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

AnyOf = TypeVar("AnyOf", Recipe, BaselineRecipe)


@dataclass(frozen=True)
class StagePlan:
    """The costs of a stage. A cost is None if the stage does not have it, or if it is not known.

    Attributes:
        stage: Name of the stage.
        parameters: Trained numbers of the model.
        image_flops: FLOPs of one image: of a forward pass in training, of encoding, or of sampling and decoding.
        open_flops: The part of a prior's `image_flops` that the order needs: without closed taps and hidden pairs.
        step_flops: FLOPs of a training step, forward and backward.
        total_flops: FLOPs of the whole stage, with the validations.
        training_bytes: Memory of a training step: weights, gradients, moments, averages, and the tensors that autograd
            keeps.
        sampling_bytes: Memory of sampling for each image of a batch.
        steps_per_sample: Sequential network evaluations of a sample.
        raw_bpp: Bits of the codes per pixel of the image, each code in whole bits.
        expected_bpp: Bits per pixel under the prior, as a complete stage measured them; otherwise the raw bits, which
            are an upper bound.
        is_measured: True if `expected_bpp` was measured.
        seconds: Estimated time in one process.
    """

    # The names of these fields are keys of the JSON of `vqgen plan`.

    stage: str
    parameters: int | None = None
    image_flops: int | None = None
    open_flops: int | None = None
    step_flops: int | None = None
    total_flops: int | None = None
    training_bytes: int | None = None
    sampling_bytes: int | None = None
    steps_per_sample: int | None = None
    raw_bpp: float | None = None
    expected_bpp: float | None = None
    is_measured: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class RecipePlanner(Generic[AnyOf]):
    """The planner of a recipe. A subclass for each kind of recipe defines `stages`.

    Attributes:
        recipe: The recipe.
        compute: Device and dtype of the run.
        counts: Number of images of the source; None if it is not known.
        machine: The speeds of the device; None estimates no times.
        measured_bpp: Level -> bits per pixel of its codes, as a complete prior of the run measured them.
    """

    recipe: AnyOf
    compute: Compute
    counts: ImageCounts | None
    machine: Machine | None
    measured_bpp: Mapping[str, float] = field(default_factory=dict)

    def stages(self) -> list[StagePlan]:
        """Returns one plan per stage, in the order of the run."""
        raise TypeError(f"{type(self).__name__} should define stages")

    def _in_order(self, plans: list[StagePlan]) -> list[StagePlan]:
        """Sorts plans by the order of the run: a classifier whose features a loss compares comes first."""
        return sorted(plans, key=lambda plan: self.recipe.stage_names.index(plan.stage))

    def _classifier(self) -> StagePlan:
        section = self.recipe.classifier_or_default
        train = section.train
        config = self.recipe.classifier_config(max(1, self.counts.classes) if self.counts else 1)
        model = without_weights(lambda: build_classifier(config))
        costs = classifier_costs(config)
        step_flops = (1 + BACKWARD) * train.batch_size * costs.flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        validated = self._validated_images(train, steps)
        total = None if steps is None else steps * step_flops + validated * costs.flops
        return StagePlan(
            "classifier",
            parameters=size_of(model),
            image_flops=costs.flops,
            step_flops=step_flops,
            total_flops=total,
            training_bytes=self._training_bytes(model, train, costs),
            seconds=self._seconds(total, steps, tensors_of(model)),
        )

    @property
    def _float_bytes(self) -> int:
        """Bytes of a weight. With autocast the tensors computed from weights are smaller, so this is an upper bound."""
        return self.compute.float_dtype.itemsize

    def _steps(self, train: TrainConfig, images: int | None) -> int | None:
        """Counts optimizer steps; None if they depend on a number of images that is not known."""
        if train.epochs is None:
            return train.steps
        return None if images is None else math.ceil(train.epochs * images / train.batch_size)

    def _validated_images(self, train: TrainConfig, steps: int | None) -> int:
        """Counts the images of all validations; 0 if their number is not known."""
        if steps is None or self.counts is None:
            return 0
        return math.ceil(steps / train.validate_every) * self.counts.validation

    def _training_bytes(self, model: nn.Module, train: TrainConfig, cost: Cost, *, snapshots: int = 0) -> int:
        """Sums the tensors that a training step holds, in bytes.

        Args:
            model: The model, with or without numbers in its tensors.
            train: The settings of its training.
            cost: The cost of a forward pass of one image.
            snapshots: Number of snapshots of the weights, for guides.
        """
        # Weights, gradients, two moments of AdamW and the best weights make five; the moving average is a sixth.
        numbers = (5 + bool(train.ema_decay) + snapshots) * size_of(model)
        numbers += math.ceil(train.batch_size / train.micro_batches) * cost.kept + cost.once
        buffers = sum(buffer.nbytes for buffer in model.buffers())
        # Only some buffers are saved with the weights, for example codebooks. The best weights and the snapshots are
        # copies of the saved state, so they hold these buffers again.
        saved_buffers = sum(tensor.nbytes for tensor in model.state_dict().values())
        saved_buffers -= sum(parameter.nbytes for parameter in model.parameters())
        averaged = model.statistics() if train.ema_decay and isinstance(model, VQVAE) else []
        buffers += sum(tensor.nbytes for tensor in averaged)
        return self._float_bytes * numbers + buffers + (1 + snapshots) * saved_buffers

    def _seconds(self, flops: int | None, steps: int | None, tensors: int) -> float | None:
        if flops is None or steps is None or self.machine is None:
            return None
        return training_seconds(self.machine, flops, steps, tensors)
