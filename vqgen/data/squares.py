"""The square pictures of a set of images, many at a time; small sets are read once.

Legend: `b` batch, `c` channels, `h w` pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vqgen.data.image_set import ImageSet
from vqgen.data.transforms import RandomSquare

CACHE_LIMIT = 2**30
"""Most bytes of squares that are cached in memory; a larger set is not cached at all."""

_VARIED_PIXELS = 2**18
"""Pixels of the squares that are varied at a time. More would take more memory and not be faster."""

Map = Callable[..., Iterable[Any]]
"""`map`, or the `map` of a pool of threads: applies a function to each item, and yields the results in order."""


class Squares:
    """The squares of a set's images, as a transform makes them.

    Args:
        images: The set.
        transform: The transform.
        cache: Caches centre squares, if those of all images fit into `CACHE_LIMIT` together. Then each image is read
            once, also for random squares, unless these are cropped at random.

    Attributes:
        is_cached: True if centre squares are cached.
    """

    def __init__(self, images: ImageSet, transform: RandomSquare, *, cache: bool) -> None:
        self._images = images
        self._transform = transform
        centre = transform.centre
        self._shape = (centre.channels, centre.image_size, centre.image_size)
        self.is_cached = cache and len(images) * int(np.prod(self._shape)) <= CACHE_LIMIT
        # Memory that is not written takes no room.
        self._cache = np.empty((len(images) if self.is_cached else 0, *self._shape), dtype=np.uint8)
        self._is_filled = np.zeros(len(self._cache), dtype=bool)

    def centred(self, indices: Sequence[int], each: Map = map) -> UInt8[Tensor, "b c h w"]:
        """Returns the centre squares of some images.

        Args:
            indices: The images, some perhaps more than once.
            each: Maps the reading of one image over those to read.

        Raises:
            DataError: An image cannot be read.
        """
        if not self.is_cached:
            centre = self._transform.centre
            return self._stacked(each(lambda index: centre(self._images.read(index)), indices), len(indices))
        wanted = np.asarray(indices, dtype=np.int64)
        missing = dict.fromkeys(wanted[~self._is_filled[wanted]].tolist())
        for _ in each(self._fill, missing):
            pass  # the map of a pool raises errors only where its results are taken
        return torch.from_numpy(self._cache[wanted])

    def random(self, indices: Sequence[int], seeds: Sequence[int], each: Map = map) -> UInt8[Tensor, "b c h w"]:
        """Returns random squares of some images.

        Args:
            indices: The images, some perhaps more than once.
            seeds: The seed of each square.
            each: Maps the reading of one image, and the variation of some squares.

        Raises:
            DataError: An image cannot be read.
        """
        transform = self._transform
        if transform.crops_at_random:
            crops = each(lambda index, seed: transform.crop(self._images.read(index), seed), indices, seeds)
            squares = self._stacked(crops, len(indices))
        else:
            squares = self.centred(indices, each)
        count = max(1, _VARIED_PIXELS // int(np.prod(self._shape)))
        parts = [slice(begin, begin + count) for begin in range(0, len(indices), count)]
        varied = each(lambda part: transform.vary(squares[part], seeds[part]).numpy(), parts)
        # NumPy: torch would wake all its threads, which costs milliseconds on busy cores. The first part, of no square,
        # gives a batch without images its shape.
        return torch.from_numpy(np.concatenate([self._cache[:0], *varied]))

    def _stacked(self, squares: Iterable[Tensor], count: int) -> UInt8[Tensor, "b c h w"]:
        stacked = np.empty((count, *self._shape), dtype=np.uint8)
        for row, square in zip(stacked, squares, strict=True):
            row[:] = square.numpy()
        return torch.from_numpy(stacked)

    def _fill(self, index: int) -> None:
        self._cache[index] = self._transform.centre(self._images.read(index)).numpy()
        self._is_filled[index] = True  # after the pixels, because other threads read them once it is set
