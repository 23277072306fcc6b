"""Codes and pictures for the tests of the codec."""

import numpy as np
from PIL import Image

from vqgen.codec import Codec, ImageCodes, ImageShape


def random_codes(codec: Codec, width: int, height: int, seed: int = 0, label: int | None = None) -> ImageCodes:
    """Codes of an image of that size, each as likely as the others."""
    rng = np.random.default_rng(seed)
    shape = ImageShape(width, height, False, label)
    sizes = shape.grid_sizes(codec.parts.vqvae.config.downsample)
    grids = {level: rng.integers(0, 16, size) for level, size in zip(codec.models.levels, sizes, strict=True)}
    return ImageCodes(shape, grids)


def noise_picture(width: int, height: int, mode: str = "L", seed: int = 0) -> Image.Image:
    """A picture of random pixels."""
    bands = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, *bands), dtype=np.uint8))
