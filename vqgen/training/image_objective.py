"""Training objectives that are validated on images."""

from collections.abc import Iterator

from torch import nn

from vqgen.config import DataConfig
from vqgen.data import ImageBatch, ImageSet, evaluation_batches, evaluation_transform
from vqgen.runtime.compute import Compute
from vqgen.training.objective import Objective


class ImageObjective(Objective):
    """An objective over images; a class of it defines `forward`, `validate` and `monitor`.

    Args:
        model: What to train.
        validation: Images to validate on.
        data: Their transform.
        compute: Number format of the computation.
        rank: This process.
        world_size: All processes.
    """

    validation_batch = 64
    """Images validated at once."""

    def __init__(
        self, model: nn.Module, validation: ImageSet, data: DataConfig, compute: Compute, rank: int, world_size: int
    ) -> None:
        super().__init__()
        self.model = model
        self._validation, self._data, self._compute = validation, data, compute
        self._rank, self._world_size = rank, world_size

    def _batches(self) -> Iterator[ImageBatch]:
        """This process's share of the validation images, not augmented."""
        return evaluation_batches(
            self._validation,
            evaluation_transform(self._data),
            batch_size=self.validation_batch,
            rank=self._rank,
            world_size=self._world_size,
        )
