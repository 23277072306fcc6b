"""Transforms from pictures to square uint8 tensors, with and without augmentation.

Legend: `b` batch, `c` channels, `h w` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor

from vqgen.config import DataConfig
from vqgen.data.deforming import Deformations, deform
from vqgen.data.pictures import Reading
from vqgen.data.pixels import to_tensor
from vqgen.data.reading import normalize_mode

_DRAWS = 10
"""Random numbers of a picture."""


def evaluation_transform(config: DataConfig) -> "CentreSquare":
    """Builds the transform without randomness: the centre square, scaled to `image_size` unless it is cropped so."""
    return CentreSquare(config.image_size, config.channels, Reading.of(config), is_native=config.crop != "scaled")


def training_transform(config: DataConfig) -> "RandomSquare":
    """Builds the transform of training; its draws depend on the seed of each picture and on nothing else."""
    return RandomSquare(config)


@dataclass(frozen=True)
class CentreSquare:
    """The transform to the centre square of a picture; small pictures are enlarged.

    Attributes:
        image_size: Height and width of the result, in pixels.
        channels: 1 for grey, 3 for RGB.
        reading: The reading rules, for pictures that do not come from a file of the set.
        is_native: True for a square of `image_size` pixels of the picture, False for its largest square, scaled.
    """

    image_size: int
    channels: int
    reading: Reading = field(default_factory=Reading)
    is_native: bool = False

    def side_in(self, image: Image.Image) -> int:
        """Returns the side of the largest square that the transform takes from a picture, in its pixels."""
        shorter = min(image.size)
        return min(shorter, self.image_size) if self.is_native else shorter

    def __call__(self, image: Image.Image) -> UInt8[Tensor, "c h w"]:
        """Applies the transform to a picture of any mode."""
        image = normalize_mode(image, reading=self.reading)  # turned upright before it is measured
        side = self.side_in(image)
        left = (image.width - side) // 2
        top = (image.height - side) // 2
        return _square(image, left, top, side, self)


@dataclass(frozen=True)
class RandomSquare:
    """The transform to a random square of a picture, deformed, shifted and mirrored as the configuration asks.

    It has two steps: a square is cropped from each picture alone, and squares are varied many at a time.

    Attributes:
        config: `random_crop`, `random_rotation`, `random_scale`, `random_shear`, `random_shift` and `horizontal_flip`
            define the draws.
    """

    config: DataConfig

    def __call__(self, image: Image.Image, seed: int) -> UInt8[Tensor, "c h w"]:
        """Applies the transform to a picture of any mode, with the draws of `seed`."""
        return self.vary(self.crop(image, seed)[None], [seed])[0]

    @property
    def centre(self) -> CentreSquare:
        """The transform without its draws."""
        return evaluation_transform(self.config)

    @property
    def is_random(self) -> bool:
        """True if the result depends on the seed."""
        return self.config.is_augmented

    @property
    def crops_at_random(self) -> bool:
        """True if the seed chooses the square; False if `crop` returns the centre square for every seed."""
        return self.config.crops_at_random

    def crop(self, image: Image.Image, seed: int) -> UInt8[Tensor, "c h w"]:
        """Crops the square of `seed` from a picture of any mode, and scales it."""
        config = self.config
        if not self.crops_at_random:
            return self.centre(image)
        image = normalize_mode(image, reading=self.centre.reading)
        size, left, top, *_ = _draw([seed])[0].tolist()
        side = self.centre.side_in(image) * (config.random_crop + (1 - config.random_crop) * size)
        left, top = left * (image.width - side), top * (image.height - side)
        if config.crop == "native":
            left, top = round(left), round(top)  # whole pixels, which are not interpolated
        return _square(image, left, top, side, self.centre)

    def vary(self, squares: UInt8[Tensor, "b c h w"], seeds: Sequence[int]) -> UInt8[Tensor, "b c h w"]:
        """Deforms, shifts and mirrors squares.

        Args:
            squares: Results of `crop`, one per seed. They are not changed.
            seeds: The seed of each square. A result depends on its own square and seed alone.
        """
        config = self.config
        moves = bool(config.random_shift or config.horizontal_flip)
        if not len(squares) or not (moves or config.is_deformed):
            return squares
        # All draws are made in every case: an option then leaves the draws of every other option as they were.
        draws = _draw(seeds)
        if config.is_deformed:
            squares = deform(squares, self._deformations(draws[:, 6:]))
        if not moves:
            return squares
        down, right, mirror = draws[:, 3:6].T
        return _move(squares, self._offsets(down), self._offsets(right), (mirror < 0.5) & config.horizontal_flip)

    def _offsets(self, draws: Float64[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
        """Turns draws in [0, 1) into shifts, in pixels."""
        most = self.config.random_shift
        return (draws * (2 * most + 1)).astype(np.int64) - most

    def _deformations(self, draws: Float64[np.ndarray, "b 4"]) -> Deformations:
        """Turns draws in [0, 1) into deformations."""
        config = self.config
        turns, scales, across, down = 2 * draws.T - 1
        return Deformations(
            degrees=turns * config.random_rotation,
            scales=1 + scales * config.random_scale,
            across=across * config.random_shear,
            down=down * config.random_shear,
        )


def _draw(seeds: Sequence[int]) -> Float64[np.ndarray, "b draws"]:
    """Draws the random numbers of each seed, in [0, 1)."""
    generator = torch.Generator()  # one for all, seeded again: to make one takes as long as to draw
    draws = torch.empty(len(seeds), _DRAWS, dtype=torch.float64)
    for row, seed in zip(draws.unbind(), seeds, strict=True):
        row.uniform_(generator=generator.manual_seed(seed))
    return draws.numpy()


def _square(
    image: Image.Image, left: int | float, top: int | float, side: int | float, square: CentreSquare
) -> UInt8[Tensor, "c h w"]:
    image = image.convert("L" if square.channels == 1 else "RGB")
    # Bicubic: sharper than bilinear when photographs shrink, smooth when digits of 8 x 8 grow. Pillow's filter widens
    # when it shrinks (antialias) and computes in integers, so results agree between machines. Cropping and scaling are
    # one step, so that a long, narrow picture is never enlarged as a whole.
    box = (left, top, min(left + side, image.width), min(top + side, image.height))
    size = (square.image_size, square.image_size)
    return to_tensor(image.resize(size, Image.Resampling.BICUBIC, box=box))


def _move(
    images: UInt8[Tensor, "b c h w"],
    down: Int64[np.ndarray, " b"],
    right: Int64[np.ndarray, " b"],
    mirrored: Bool[np.ndarray, " b"],
) -> UInt8[Tensor, "b c h w"]:
    """Shifts each picture by its own number of pixels, and mirrors some after that."""
    size = images.shape[-1]
    # A shift by more than the whole side shows nothing but the edge, as a shift by the side does.
    margin = min(size, int(np.abs([down, right]).max()))
    down, right = (np.clip(offsets, -margin, margin) for offsets in (down, right))
    # A shift repeats the edge: a black border would teach the model a pattern that no image has.
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (margin, margin), (margin, margin)], mode="edge")
    windows = sliding_window_view(padded, (size, size), axis=(2, 3))
    moved = windows[np.arange(len(images)), :, margin - down, margin - right]
    moved[mirrored] = moved[mirrored, ..., ::-1]
    return torch.from_numpy(moved)
