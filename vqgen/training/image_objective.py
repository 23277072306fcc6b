"""The base of training objectives on images."""

from collections.abc import Iterator, Sequence

from torch import nn

from vqgen.config import DataConfig
from vqgen.data import ImageBatch, ImageSet, evaluation_batches, evaluation_transform
from vqgen.runtime.compute import Compute
from vqgen.training.image_losses import ImageLosses
from vqgen.training.objective import Limit, Objective, Opponent


class ImageObjective(Objective):
    """An objective on images. A subclass defines `forward`, `validate` and `monitor`.

    With an adversary no validation chooses the weights: the last ones are the result. The adversary makes textures
    sharper and, by design, differences of pixels larger, so every difference would choose the weights before it began.

    Args:
        model: The model to train.
        validation: Images to validate on.
        data: Their transform.
        compute: Device and dtype of the computation.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        losses: The losses of reconstructions; None for the model's own loss alone.
    """

    validation_batch = 64
    """Images validated at a time."""

    def __init__(
        self,
        model: nn.Module,
        validation: ImageSet,
        data: DataConfig,
        compute: Compute,
        rank: int,
        world_size: int,
        *,
        losses: ImageLosses | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._validation = validation
        self._data = data
        self._compute = compute
        self._rank = rank
        self._world_size = world_size
        self.losses = losses

    @property
    def opponent(self) -> Opponent | None:
        """The adversary among the losses."""
        return None if self.losses is None else self.losses.adversary

    @property
    def limits(self) -> Sequence[Limit]:
        """The bounds of the losses."""
        return () if self.losses is None else self.losses.limits

    def begin_step(self, step: int, seed: int) -> None:
        """Prepares the losses."""
        if self.losses is not None:
            self.losses.begin_step(step)

    def end_step(self) -> None:
        """Finishes the step of the losses."""
        if self.losses is not None:
            self.losses.end_step()

    def validation_counts(self, step: int, place: int | float) -> bool:
        """Returns False with an adversary: the last weights are the result."""
        return self.opponent is None

    def _batches(self) -> Iterator[ImageBatch]:
        """Yields this process's share of the validation images, without augmentation."""
        return evaluation_batches(
            self._validation,
            evaluation_transform(self._data),
            batch_size=self.validation_batch,
            rank=self._rank,
            world_size=self._world_size,
        )

    def _first_images(self, most: int) -> ImageBatch:
        """Returns the first validation images, without augmentation."""
        first = self._validation.subset(range(min(most, len(self._validation))))
        (batch,) = evaluation_batches(first, evaluation_transform(self._data), batch_size=len(first))
        return batch
