"""Batches of images: for training in a resumable order, for evaluation in the order of the set.

Legend: `b` batch, `c` channels, `h w` pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vqgen.config import DataConfig
from vqgen.data.image_set import ImageSet
from vqgen.data.squares import Map, Squares
from vqgen.data.training_order import TrainingOrder, contiguous_share
from vqgen.data.transforms import RandomSquare, training_transform
from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Some images of a set.

    Attributes:
        images: The pixels.
        labels: The index of each image's label; -1 without a label.
        positions: Each image's position: in the stream of a training order, or in the set for evaluation.
    """

    images: UInt8[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    positions: Int64[Tensor, " b"]


class ImageBatches:
    """The batches of one process in training.

    Args:
        images: The set.
        transform: The transform of a picture with a seed; see `training_transform`.
        order: The images of each step; made for `len(images)` images.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        seed: The run's seed. The seed of an image derives from it and from the image's position in the stream.
        workers: Processes that read ahead; with a cache, threads that fill it. 0 reads in this thread.
        cache: Caches the centre squares of the images, as `Squares` does.

    Raises:
        ValueError: `order` was made for another number of images.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: RandomSquare,
        order: TrainingOrder,
        *,
        rank: int,
        world_size: int,
        seed: int,
        workers: int = 0,
        cache: bool,
    ) -> None:
        if order.num_images != len(images):
            raise ValueError(f"order should be for {len(images)} images, found one for {order.num_images}")
        self._images = images
        self._transform = transform
        self.order = order
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._workers = workers
        self._squares = Squares(images, transform, cache=cache and not transform.crops_at_random)

    def steps(self, start: int = 0) -> Iterator[ImageBatch]:
        """Yields one batch per step, from `start` to the end of the order.

        Args:
            start: The first step, which is the number of finished steps.

        Yields:
            This process's share of each step's batch; b = 0 if the last batch has fewer images than processes.

        Raises:
            DataError: An image cannot be read.
        """
        # Worker processes would each fill a cache of their own.
        processes = 0 if self._squares.is_cached else self._workers
        yield from _in_order(self._batch, range(start, self.order.num_steps), processes)

    def global_size(self, step: int) -> int:
        """Returns the number of images in a step's batch, over all processes."""
        return self.order.size(step)

    def _batch(self, step: int) -> ImageBatch:
        positions, indices = self.order.share(step, self._rank, self._world_size)
        if self._squares.is_cached and self._workers > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                pixels = self._pixels(positions, indices, pool.map)
        else:
            pixels = self._pixels(positions, indices, map)
        labels = torch.from_numpy(self._images.labels[np.array(indices, dtype=np.int64)])
        return ImageBatch(pixels, labels, torch.tensor(positions, dtype=torch.int64))

    def _pixels(self, positions: list[int], indices: list[int], each: Map) -> UInt8[Tensor, "b c h w"]:
        if not self._transform.is_random:
            return self._squares.centred(indices, each)
        # An image's seed is its position's, so that a resumed run, or another number of processes, draws the same.
        seeds = [derive_seed(self._seed, "augment", position) for position in positions]
        return self._squares.random(indices, seeds, each)


def training_batches(
    images: ImageSet, data: DataConfig, order: TrainingOrder, *, augment: bool, rank: int, world_size: int, seed: int
) -> ImageBatches:
    """Returns the batches of one process in training, transformed as a recipe says.

    Args:
        images: The set.
        data: The transform and augmentation of the images, and the workers that read them.
        order: The images of each step.
        augment: Augments the images as `data` says; False trains on them as they are.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        seed: The seed of the stage.
    """
    data = data if augment else data.without_augmentation()
    return ImageBatches(
        images,
        training_transform(data),
        order,
        rank=rank,
        world_size=world_size,
        seed=seed,
        workers=data.workers,
        # An augmented image takes longer to vary than to find in a cache, so worker processes do without.
        cache=not (data.is_augmented and data.workers),
    )


def evaluation_batches(
    images: ImageSet,
    transform: Callable[[Image.Image], UInt8[Tensor, "c h w"]],
    batch_size: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[ImageBatch]:
    """Yields the images of one process, each once, in the order of the set.

    Args:
        images: The set.
        transform: See `evaluation_transform`. It can be pickled.
        batch_size: Images per batch of this process; the last batch may be smaller.
        rank: This process, in [0, world_size).
        world_size: Number of processes. Each has a contiguous share, and their sizes differ by at most one.
        workers: Processes that read ahead; 0 reads in this thread.

    Yields:
        Batches; none if the share is empty.

    Raises:
        ValueError: `batch_size` is smaller than 1.
        DataError: An image cannot be read.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1, found {batch_size}")
    share = contiguous_share(len(images), rank, world_size)
    starts = range(share.start, share.stop, batch_size)
    load = _EvaluationBatch(images, transform, batch_size, share.stop)
    yield from _in_order(load, starts, workers)


@dataclass(frozen=True)
class _EvaluationBatch:
    """A loader of the batch that begins at an index; a class, because worker processes cannot receive a closure."""

    images: ImageSet
    transform: Callable[[Image.Image], Tensor]
    batch_size: int
    stop: int

    def __call__(self, start: int) -> ImageBatch:
        indices = range(start, min(start + self.batch_size, self.stop))
        pixels = _stacked([self.transform(self.images.read(index)) for index in indices])
        labels = torch.tensor(self.images.labels[indices.start : indices.stop])
        return ImageBatch(pixels, labels, torch.arange(indices.start, indices.stop))


def _stacked(pictures: Sequence[UInt8[Tensor, "c h w"]]) -> UInt8[Tensor, "b c h w"]:
    # NumPy: torch would wake all its threads, which costs milliseconds on busy cores.
    return torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))


def _in_order(load: Callable[[int], ImageBatch], keys: Sequence[int], workers: int) -> Iterator[ImageBatch]:
    if workers == 0 or len(keys) == 0:
        for key in keys:
            yield load(key)
        return
    loader = DataLoader(
        _WholeBatches(load, keys),
        batch_size=None,  # because an item is a batch already
        num_workers=min(workers, len(keys)),
        collate_fn=_unchanged,
        generator=torch.Generator(),  # so that the loader does not draw from the global generator
    )
    for item in loader:
        if isinstance(item, DataError):
            raise item
        yield item


class _WholeBatches(Dataset):
    """A data set of whole batches, for worker processes.

    It returns errors as values: torch would add a worker's traceback to the message of a raised one.
    """

    def __init__(self, load: Callable[[int], ImageBatch], keys: Sequence[int]) -> None:
        self._load = load
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, item: int) -> ImageBatch | DataError:
        try:
            return self._load(self._keys[item])
        except DataError as error:
            return type(error)(*error.args)


def _unchanged(item: object) -> object:
    return item
