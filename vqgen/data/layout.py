"""Pictures laid out in rows. Small ones are enlarged, so that a person can see them.

Legend: `b` images, `c` channels, `H W` image.
"""

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.data.pixels import to_pil

_LEAST_SIDE = 48
"""Pixels below which a picture in a grid is enlarged by a whole factor, so that a person can see it."""

_WHITE = 255


def enlarged(images: UInt8[Tensor, "b c H W"], least_side: int = _LEAST_SIDE) -> UInt8[Tensor, "b c h w"]:
    """Enlarges pictures whose width is below `least_side` by the least whole factor that reaches it."""
    # A whole factor, and repeated pixels: what a model drew stays exact, without a blur.
    factor = max(1, -(-least_side // images.shape[-1]))
    return images.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2) if factor > 1 else images


def image_grid(images: UInt8[Tensor, "b c H W"], columns: int, least_side: int = _LEAST_SIDE) -> Image.Image:
    """Lays pictures out in rows, with a white margin between them; small ones are enlarged by a whole factor.

    Args:
        images: The pictures; unfilled places in the last row stay white.
        columns: Pictures in a row.
        least_side: Width in pixels below which pictures are enlarged.
    """
    height, width = enlarged(images[:1], least_side).shape[-2:]
    columns = min(columns, len(images))
    margin = max(2, width // 16)
    # Each picture brings its margin at the left and above, so that neighbours share one; the right and lower edges of
    # the grid are added at the end. Picture by picture, because memory should hold one large grid and no copy of it.
    rows = -(-len(images) // columns)
    size = (rows * (height + margin) + margin, columns * (width + margin) + margin)
    grid = torch.full((images.shape[1], *size), _WHITE, dtype=torch.uint8)
    for place, image in enumerate(images):
        top = place // columns * (height + margin) + margin
        left = place % columns * (width + margin) + margin
        grid[:, top : top + height, left : left + width] = enlarged(image[None], least_side)[0]
    return to_pil(grid[None])[0]
