"""The order of training images: a function of the seed and the step, and of nothing that happened before."""

import numpy as np
from numpy.typing import NDArray

from vqgen.runtime.randomness import derive_seed


class TrainingOrder:
    """A stream of images, cut into batches: seeded permutations of all images, end to end.

        stream     | permutation of epoch 0 | permutation of epoch 1 | ...      position p: epoch p // num_images
        steps      | 0 | 1 | 2 | 3 | 4 | 5 | 6 | ...                            step s: from s * batch_size on

    A resumed run sees the same images at the same positions, and so does a run with another number of processes.

    Args:
        num_images: Images in the set.
        batch_size: Images per step, over all processes.
        seed: The run's seed.
        total_images: Length of the stream; the last batch is smaller if `batch_size` does not divide it.

    Raises:
        ValueError: A number is smaller than 1.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, total_images: int) -> None:
        sizes = {"num_images": num_images, "batch_size": batch_size, "total_images": total_images}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} should be at least 1, found {value}")
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.total_images = total_images
        self._permutations: dict[int, NDArray[np.int64]] = {}

    @property
    def num_steps(self) -> int:
        """Number of batches: ceil(total_images / batch_size)."""
        return -(-self.total_images // self.batch_size)

    def size(self, step: int) -> int:
        """Returns the number of images of a step over all processes; the last step may have fewer than `batch_size`."""
        return min(self.batch_size, self.total_images - step * self.batch_size)

    def batch(self, step: int) -> tuple[list[int], list[int]]:
        """Returns the batch of all processes together.

        Args:
            step: In [0, num_steps).

        Returns:
            Positions in the stream, and the index of the image at each.

        Raises:
            IndexError: There is no such step.
        """
        return self.share(step, rank=0, world_size=1)

    def share(self, step: int, rank: int, world_size: int) -> tuple[list[int], list[int]]:
        """Returns one process's share of a batch.

        Shares are contiguous, in the order of the processes, and their sizes differ by at most one.

        Args:
            step: In [0, num_steps).
            rank: The process, in [0, world_size).
            world_size: Number of processes. If it exceeds the size of the batch, some shares are empty.

        Returns:
            As `batch`.

        Raises:
            IndexError: There is no such step.
        """
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step should be in [0, {self.num_steps}), found {step}")
        start = step * self.batch_size
        own = contiguous_share(self.size(step), rank, world_size)
        positions = range(start + own.start, start + own.stop)
        return list(positions), self._images_at(positions)

    def _images_at(self, positions: range) -> list[int]:
        if not positions:
            return []
        epochs = range(positions[0] // self.num_images, positions[-1] // self.num_images + 1)
        # Only the epochs of this batch stay cached: training never goes back, and a permutation may be large.
        self._permutations = {epoch: self._permutation(epoch) for epoch in epochs}
        # A batch may cross the border of two epochs, or of more if it is larger than the set.
        parts = []
        for epoch, permutation in self._permutations.items():
            first = epoch * self.num_images
            parts.append(permutation[max(0, positions[0] - first) : positions[-1] + 1 - first])
        return np.concatenate(parts).tolist()

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch in self._permutations:
            return self._permutations[epoch]
        return np.random.default_rng(derive_seed(self.seed, "epoch", epoch)).permutation(self.num_images)


def contiguous_share(count: int, rank: int, world_size: int) -> range:
    """Cuts 0..count-1 into `world_size` spans whose lengths differ by at most one, and returns the span of `rank`."""
    # Integer division places the borders: neighbours share a border, so no index is lost or taken twice.
    return range(rank * count // world_size, (rank + 1) * count // world_size)
