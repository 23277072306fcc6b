"""Transforms from pictures to square uint8 tensors, with and without augmentation.

Legend: `c` channels, `h w` pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.config import DataConfig
from vqgen.data.pixels import to_tensor
from vqgen.data.reading import normalize_mode


def evaluation_transform(config: DataConfig) -> Callable[[Image.Image], UInt8[Tensor, "c h w"]]:
    """Builds the transform without randomness: the centre square, scaled to `image_size`."""
    return CentreSquare(config.image_size, config.channels)


def training_transform(config: DataConfig) -> Callable[[Image.Image, int], UInt8[Tensor, "c h w"]]:
    """Builds the transform of training; its draws depend on the seed of each call and on nothing else."""
    return RandomSquare(config)


@dataclass(frozen=True)
class CentreSquare:
    """The transform to the centre square of a picture, scaled; small pictures are enlarged.

    Attributes:
        image_size: Height and width of the result, in pixels.
        channels: 1 for grey, 3 for RGB.
    """

    image_size: int
    channels: int

    def __call__(self, image: Image.Image) -> UInt8[Tensor, "c h w"]:
        """Applies the transform to a picture of any mode."""
        side = min(image.size)
        left = (image.width - side) // 2
        top = (image.height - side) // 2
        return _square(image, left, top, side, self.image_size, self.channels)


@dataclass(frozen=True)
class RandomSquare:
    """The transform to a random square of a picture, deformed, shifted and mirrored as the configuration asks.

    Attributes:
        config: `random_crop`, `random_rotation`, `random_scale`, `random_shear`, `random_shift` and `horizontal_flip`
            define the draws.
    """

    config: DataConfig

    def __call__(self, image: Image.Image, seed: int) -> UInt8[Tensor, "c h w"]:
        """Applies the transform to a picture of any mode, with the draws of `seed`."""
        config = self.config
        if not config.is_augmented:
            return CentreSquare(config.image_size, config.channels)(image)
        # All draws are made in every case: an option then leaves the draws of every other option as they were.
        draws = torch.rand(10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
        size, left, top, down, right, mirror, *deformation = draws
        shifts = 2 * config.random_shift + 1
        result = self._crop(image, size, left, top)
        if config.is_deformed:
            turn, scale, shear_across, shear_down = (2 * draw - 1 for draw in deformation)
            shears = [shear_across * config.random_shear, shear_down * config.random_shear]
            result = _deform(result, turn * config.random_rotation, 1 + scale * config.random_scale, shears)
        return _shift(
            result,
            int(down * shifts) - config.random_shift,
            int(right * shifts) - config.random_shift,
            config.horizontal_flip and mirror < 0.5,
        )

    def _crop(self, image: Image.Image, size: float, left: float, top: float) -> UInt8[Tensor, "c h w"]:
        config = self.config
        if config.random_crop == 1:
            return CentreSquare(config.image_size, config.channels)(image)
        side = min(image.size) * (config.random_crop + (1 - config.random_crop) * size)
        return _square(
            image,
            left * (image.width - side),
            top * (image.height - side),
            side,
            config.image_size,
            config.channels,
        )


def _square(
    image: Image.Image, left: int | float, top: int | float, side: int | float, size: int, channels: int
) -> UInt8[Tensor, "c h w"]:
    image = normalize_mode(image).convert("L" if channels == 1 else "RGB")
    # Bicubic: sharper than bilinear when photographs shrink, smooth when digits of 8 x 8 grow. Pillow's filter widens
    # when it shrinks (antialias) and computes in integers, so results agree between machines. Cropping and scaling are
    # one step, so that a long, narrow picture is never enlarged as a whole.
    box = (left, top, min(left + side, image.width), min(top + side, image.height))
    return to_tensor(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _shift(image: UInt8[Tensor, "c h w"], down: int, right: int, mirror: bool) -> UInt8[Tensor, "c h w"]:
    if not (down or right or mirror):
        return image
    height, width = image.shape[-2:]
    # A shift repeats the edge: a black border would teach the model a pattern that no image has.
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    # NumPy: torch would wake all its threads for one small picture, which costs milliseconds on busy cores.
    return torch.from_numpy(image.numpy()[:, rows[:, None], columns[::-1] if mirror else columns])


def _deform(image: UInt8[Tensor, "c h w"], degrees: float, scale: float, shears: list[float]) -> UInt8[Tensor, "c h w"]:
    """Turns, scales and shears a picture around its centre; pixels from outside repeat the edge."""
    from torchvision.transforms.v2 import InterpolationMode  # here, because torchvision loads more slowly than torch
    from torchvision.transforms.v2 import functional as F

    # A corner lies 0.71 sides from the centre. A rotation keeps this distance, a shear lengthens it by up to
    # 1 + tan(shear), a scale by 1 / scale. So the farthest pixel comes from 0.71 * stretch sides away: 0.5 of them lie
    # in the picture, the rest in the margin. The margin is at least half a side, because stored codes of rotated copies
    # were made with that width.
    stretch = math.prod(1 + math.tan(math.radians(abs(shear))) for shear in shears) / scale
    margin = math.ceil(image.shape[-1] * max(0.5, 0.71 * stretch - 0.5))
    padded = F.pad(image, [margin] * 4, padding_mode="edge")
    # `affine` turns clockwise, but positive degrees mean counterclockwise here, as in `rotate`.
    deformed = F.affine(padded, -degrees, [0, 0], scale, shears, interpolation=InterpolationMode.BILINEAR)
    return F.center_crop(deformed, list(image.shape[-2:]))
