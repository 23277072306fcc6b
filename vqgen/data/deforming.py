"""Rotations, scalings and shears of many square pictures at once.

Codes of stored runs depend on each pixel. So the pixels are those of torchvision's `affine`, bit for bit, applied to
one picture after the other. The arithmetic is torchvision's too, down to the order of sums and the kernels of products.

Legend: `b` pictures, `c` channels, `h w` pixels, `n` sampled positions of a picture.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

_LEAST_PRODUCT = 400
"""Multiplications of the smallest product that torch gives to the BLAS library. A smaller one may round otherwise."""


@dataclass(frozen=True, eq=False)
class Deformations:
    """A rotation, scaling and shear around the centre of each picture.

    Attributes:
        degrees: Angles of the rotations, counterclockwise.
        scales: Factors of the enlargements, above 0.
        across: Angles of the horizontal shears, in degrees.
        down: Angles of the vertical shears, in degrees.
    """

    degrees: Float64[np.ndarray, " b"]
    scales: Float64[np.ndarray, " b"]
    across: Float64[np.ndarray, " b"]
    down: Float64[np.ndarray, " b"]

    def margins(self, size: int) -> Int64[np.ndarray, " b"]:
        """Returns the width of the edge that has to be repeated around each picture of `size` x `size` pixels."""
        # A corner lies 0.71 sides from the centre. A rotation keeps this distance, a shear lengthens it by up to
        # 1 + tan(shear), a scale by 1 / scale. So the farthest pixel comes from 0.71 * stretch sides away: 0.5 of them
        # lie in the picture, the rest in the margin. The margin is at least half a side, because stored codes of
        # rotated copies were made with that width.
        across, down = (1 + _exactly(math.tan, np.radians(np.abs(shear))) for shear in (self.across, self.down))
        stretch = across * down / self.scales
        return np.ceil(size * np.maximum(0.5, 0.71 * stretch - 0.5)).astype(np.int64)

    def matrices(self) -> Float64[np.ndarray, "b 2 3"]:
        """Returns the maps from positions of the result to positions of the picture: rows x and y, columns x, y and 1.

        Source: `_get_inverse_affine_matrix` of torchvision, without a shift.
        """
        turn = np.radians(-self.degrees)  # torchvision's positive angles turn clockwise
        across = _exactly(math.tan, np.radians(self.across))
        down = np.radians(self.down)
        cosine = _exactly(math.cos, down)
        # A shear across, a shear down and a rotation, one after the other; the determinant is 1.
        a = _exactly(math.cos, turn - down) / cosine
        b = -(a * across + _exactly(math.sin, turn))
        c = _exactly(math.sin, turn - down) / cosine
        d = _exactly(math.cos, turn) - c * across
        nothing = np.zeros_like(turn)
        inverse = np.array([[d, -b, nothing], [-c, a, nothing]]) / self.scales
        return inverse.transpose(2, 0, 1)


def deform(images: UInt8[Tensor, "b c h w"], deformations: Deformations) -> UInt8[Tensor, "b c h w"]:
    """Deforms each picture; pixels from outside repeat the edge.

    Args:
        images: Square pictures.
        deformations: One per picture.

    Returns:
        Pictures of the same size, interpolated linearly between pixels and rounded.
    """
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    matrices = torch.from_numpy(deformations.matrices().astype(np.float32, order="C"))
    margins = deformations.margins(images.shape[-1])
    # The margin enters the rounding of positions, so each picture keeps its own. A rotation alone has one for all.
    for margin in np.unique(margins).tolist():
        chosen = torch.from_numpy(np.flatnonzero(margins == margin))
        result[chosen] = _sampled(images[chosen], matrices[chosen], margin)
    return result


def _exactly(function: Callable[[float], float], angles: Float64[np.ndarray, " b"]) -> Float64[np.ndarray, " b"]:
    """Applies a function of `math` to angles. That of NumPy may round the last bit otherwise."""
    return np.array(list(map(function, angles.tolist())))


def _sampled(
    images: UInt8[Tensor, "b c h w"], matrices: Float32[Tensor, "b 2 3"], margin: int
) -> UInt8[Tensor, "b c h w"]:
    size = images.shape[-1]
    side = size + 2 * margin
    padded = F.pad(images.float(), [margin] * 4, mode="replicate")
    # Only the middle of the padded picture is kept, so only the middle is computed. Of a tiny picture all is computed:
    # the product of its middle would be below the limit, the product of torchvision above.
    width = size if size**2 * 6 >= _LEAST_PRODUCT else side
    # Positions are shares of half the padded side, from -1 to 1. The products keep the column of ones, although nothing
    # is shifted, to be the products of torchvision.
    shares = matrices.transpose(1, 2) / torch.tensor([0.5 * side, 0.5 * side])
    grid = _positions(width).expand(len(images), -1, -1).bmm(shares).view(-1, width, width, 2)
    cut = slice((width - size) // 2, (width + size) // 2)
    middle = grid[:, cut, cut].contiguous()
    sampled = F.grid_sample(padded, middle, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.round_().to(torch.uint8)


@lru_cache(maxsize=8)
def _positions(side: int) -> Float32[Tensor, "1 n 3"]:
    """Returns the positions of all pixels, row by row, as distances from the centre: x, y and 1."""
    axis = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).view(1, -1, 3)
