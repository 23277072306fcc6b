"""What the plan of a stage says, and what the plans of all recipes have in common."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from vqgen.config import BaselineRecipe, Recipe, TrainConfig
from vqgen.data import ImageCounts
from vqgen.models.classifiers import build_classifier
from vqgen.planning.costs import BACKWARD, Cost, classifier_costs
from vqgen.planning.estimates import size_of, tensors_of, training_seconds, without_weights
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

AnyOf = TypeVar("AnyOf", Recipe, BaselineRecipe)


@dataclass(frozen=True)
class StagePlan:
    """What a stage costs; None where it does not apply or is not known.

    Attributes:
        stage: Name of the stage.
        parameters: Trained numbers of its model.
        image_flops: Operations for one image: a forward pass in training, encoding, or sampling and decoding.
        open_flops: Of a prior's `image_flops` those that the order asks for, without closed taps and hidden pairs.
        step_flops: Operations of a training step, forward and backward.
        total_flops: Operations of the whole stage, validations included.
        training_bytes: Memory of a training step: weights, gradients, moments, averages, and what autograd keeps.
        sampling_bytes: Memory of sampling for each image of a batch.
        steps_per_sample: Network evaluations of a sample, one after the other.
        raw_bpp: Bits of the codes per pixel of the image, each code in whole bits.
        expected_bpp: The same under the prior: as a complete stage measured it, otherwise the raw bits, its bound.
        is_measured: Whether `expected_bpp` was measured.
        seconds: Estimated time in one process.
    """

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
    """Plans the stages of a recipe.

    Attributes:
        recipe: The recipe.
        folder: The run folder; what complete stages measured is read there.
        compute: Number format of the computation.
        counts: Images of the source; None where they are not known.
        machine: The device's speeds; None estimates no times.
    """

    recipe: AnyOf
    folder: Path
    compute: Compute
    counts: ImageCounts | None
    machine: Machine | None

    def stages(self) -> list[StagePlan]:
        """One plan a stage, in the order in which they run."""
        raise TypeError(f"{type(self).__name__} should define stages")

    def _classifier(self) -> StagePlan:
        section = self.recipe.classifier_or_default
        train, config = section.train, self.recipe.classifier_config(max(1, self.counts.classes) if self.counts else 1)
        model, costs = without_weights(lambda: build_classifier(config)), classifier_costs(config)
        step_flops = (1 + BACKWARD) * train.batch_size * costs.flops
        steps = self._steps(train, self.counts.train if self.counts else None)
        checked = self._validated_images(train, steps)
        total = None if steps is None else steps * step_flops + checked * costs.flops
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
        """Bytes of a float: of the weights, and at most of what is computed from them."""
        return self.compute.float_dtype.itemsize

    def _steps(self, train: TrainConfig, images: int | None) -> int | None:
        if train.epochs is None:
            return train.steps
        return None if images is None else math.ceil(train.epochs * images / train.batch_size)

    def _validated_images(self, train: TrainConfig, steps: int | None) -> int:
        """Images of all validations together."""
        if steps is None or self.counts is None:
            return 0
        return math.ceil(steps / train.validate_every) * self.counts.validation

    def _training_bytes(self, model: nn.Module, train: TrainConfig, cost: Cost, *, snapshots: int = 0) -> int:
        """Weights, gradients, two moments, best weights, average and snapshots; and what autograd keeps of a batch."""
        numbers = (5 + bool(train.ema_decay) + snapshots) * size_of(model)
        numbers += math.ceil(train.batch_size / train.micro_batches) * cost.kept + cost.once
        buffers = sum(buffer.nbytes for buffer in model.buffers())
        saved = sum(tensor.nbytes for tensor in model.state_dict().values())  # buffers that go with the weights
        saved -= sum(parameter.nbytes for parameter in model.parameters())
        return self._float_bytes * numbers + buffers + (1 + snapshots) * saved

    def _seconds(self, flops: int | None, steps: int | None, tensors: int) -> float | None:
        if flops is None or steps is None or self.machine is None:
            return None
        return training_seconds(self.machine, flops, steps, tensors)
