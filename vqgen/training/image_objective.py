"""The base of training objectives on images."""

from collections.abc import Iterator

from torch import nn

from vqgen.config import DataConfig
from vqgen.data import ImageBatch, ImageSet, evaluation_batches, evaluation_transform
from vqgen.runtime.compute import Compute
from vqgen.training.objective import Objective


class ImageObjective(Objective):
    """An objective on images. A subclass defines `forward`, `validate` and `monitor`.

    Args:
        model: The model to train.
        validation: Images to validate on.
        data: Their transform.
        compute: Device and dtype of the computation.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
    """

    validation_batch = 64
    """Images validated at a time."""

    def __init__(
        self, model: nn.Module, validation: ImageSet, data: DataConfig, compute: Compute, rank: int, world_size: int
    ) -> None:
        super().__init__()
        self.model = model
        self._validation = validation
        self._data = data
        self._compute = compute
        self._rank = rank
        self._world_size = world_size

    def _batches(self) -> Iterator[ImageBatch]:
        """Yields this process's share of the validation images, without augmentation."""
        return evaluation_batches(
            self._validation,
            evaluation_transform(self._data),
            batch_size=self.validation_batch,
            rank=self._rank,
            world_size=self._world_size,
        )
