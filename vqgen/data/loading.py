"""Batches of images: for training in a resumable order, for evaluation in the order of the set.

Legend: `b` batch, `c` channels, `h w` pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vqgen.config import DataConfig
from vqgen.data.image_set import ImageSet
from vqgen.data.training_order import TrainingOrder, contiguous_share
from vqgen.data.transforms import training_transform
from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed

CACHE_LIMIT = 2**30
"""Most bytes of transformed images that are cached in memory; a larger set is not cached at all."""


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
        transform: (Picture, seed) -> uint8 `(c, h, w)`; see `training_transform`. It can be pickled.
        order: The images of each step; made for `len(images)` images.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        seed: The run's seed. The seed of an image derives from it and from the image's position in the stream.
        workers: Processes that read ahead; with a cache, threads that fill it. 0 reads in this thread.
        cache: Caches transformed images, if all of them fit into `CACHE_LIMIT` together. The transform must not use
            its seed then.

    Raises:
        ValueError: `order` was made for another number of images.
    """

    def __init__(
        self,
        images: ImageSet,
        transform: Callable[[Image.Image, int], UInt8[Tensor, "c h w"]],
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
        self._cache = cache

    def steps(self, start: int = 0) -> Iterator[ImageBatch]:
        """Yields one batch per step, from `start` to the end of the order.

        Args:
            start: The first step, which is the number of finished steps.

        Yields:
            This process's share of each step's batch; b = 0 if the last batch has fewer images than processes.

        Raises:
            DataError: An image cannot be read.
        """
        keys = range(start, self.order.num_steps)
        if self._cached is None:
            yield from _in_order(self._transformed, keys, self._workers)
        else:
            # Worker processes would each fill a cache of their own.
            yield from _in_order(self._from_cache, keys, 0)

    def global_size(self, step: int) -> int:
        """Returns the number of images in a step's batch, over all processes."""
        return self.order.size(step)

    def _transformed(self, step: int) -> ImageBatch:
        positions, indices = self.order.share(step, self._rank, self._world_size)
        # An image's seed is its position's, so that a resumed run, or another number of processes, draws the same.
        pictures = [
            self._transform(self._images.read(index), derive_seed(self._seed, "augment", position))
            for position, index in zip(positions, indices, strict=True)
        ]
        pixels = _stacked(pictures) if pictures else torch.empty((0, *self._shape), dtype=torch.uint8)
        return self._batch(pixels, positions, indices)

    def _from_cache(self, step: int) -> ImageBatch:
        positions, indices = self.order.share(step, self._rank, self._world_size)
        assert self._cached is not None
        self._fill_cache([index for index in dict.fromkeys(indices) if not self._is_cached[index]], self._cached)
        pixels = self._cached[np.array(indices, dtype=np.int64)]
        return self._batch(torch.from_numpy(pixels), positions, indices)

    def _batch(self, pixels: UInt8[Tensor, "b c h w"], positions: list[int], indices: list[int]) -> ImageBatch:
        labels = torch.from_numpy(self._images.labels[np.array(indices, dtype=np.int64)])
        return ImageBatch(pixels, labels, torch.tensor(positions, dtype=torch.int64))

    def _fill_cache(self, missing: list[int], cached: NDArray[np.uint8]) -> None:
        def load(index: int) -> None:
            cached[index] = self._transform(self._images.read(index), 0).numpy()
            self._is_cached[index] = True

        if self._workers > 1 and len(missing) > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                list(pool.map(load, missing))
        else:
            for index in missing:
                load(index)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return tuple(self._transform(self._images.read(0), 0).shape)

    @cached_property
    def _cached(self) -> NDArray[np.uint8] | None:
        """The cache, with room for all transformed images `(n, c, h, w)`; None without a cache."""
        fits = self._cache and len(self._images) * int(np.prod(self._shape)) <= CACHE_LIMIT
        return np.empty((len(self._images), *self._shape), dtype=np.uint8) if fits else None

    @cached_property
    def _is_cached(self) -> NDArray[np.bool_]:
        return np.zeros(len(self._images), dtype=bool)


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
        cache=not data.is_augmented,  # without augmentation an image has the same pixels in every step
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
            return DataError(*error.args)


def _unchanged(item: object) -> object:
    return item
