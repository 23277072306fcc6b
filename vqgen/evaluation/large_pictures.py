"""Errors of large pictures, computed in strips of rows: memory holds the floating-point numbers of a strip.

The values are those of whole pictures, up to rounding.

Legend: `c` channels, `H W` picture, `h` rows of a strip.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vqgen.evaluation.pixel_errors import WINDOW, ms_ssim_weights

PIXELS_AT_A_TIME = 1 << 20
"""Pixels of a strip. A picture of at most so many is computed as a whole."""

_BORDER = WINDOW // 2


def strips(height: int, width: int, multiple: int = 1) -> Iterator[slice]:
    """Cuts rows into strips.

    Args:
        height: Number of rows.
        width: Pixels of a row.
        multiple: Every strip but the last one has a multiple of so many rows.
    """
    step = max(1, PIXELS_AT_A_TIME // (width * multiple)) * multiple
    return (slice(begin, min(begin + step, height)) for begin in range(0, height, step))


def mean_square_error(one: Image.Image, other: Image.Image, mode: str) -> float:
    """Computes the mean squared error of intensities in [0, 1].

    Args:
        one: A picture.
        other: A picture of the same size.
        mode: The mode in which they are compared, `L` or `RGB`.
    """
    total = 0.0
    for rows in strips(one.height, one.width):
        # The difference of two uint8 values would wrap around.
        difference = _values(one, rows, mode, np.float64) - _values(other, rows, mode, np.float64)
        total += float(np.square(difference / 255).mean()) * ((rows.stop - rows.start) / one.height)
    return total


def ms_ssim_in_strips(one: Image.Image, other: Image.Image) -> float | None:
    """Computes the multi-scale structural similarity; see `ms_ssim_per_image`.

    Args:
        one: A picture of mode `L` or `RGB`.
        other: A picture of the same size and mode.

    Returns:
        A value in [0, 1]; None if the pictures are smaller than the window.
    """
    weights = ms_ssim_weights(min(one.size))
    if not weights:
        return None
    product = 1.0
    pair: Sequence[_Scale] = [_Picture(one), _Picture(other)]
    for weight in weights[:-1]:
        product *= max(0.0, _contrast(pair)) ** weight
        pair = [_Halved.of(each) for each in pair]
    similarity, _ = _ssim(pair, slice(0, pair[0].height))
    return product * max(0.0, similarity) ** weights[-1]


class _Scale(ABC):
    """A picture at one scale, as intensities in [0, 1] on demand.

    Attributes:
        height: Rows.
        width: Columns.
    """

    height: int
    width: int

    @abstractmethod
    def rows(self, rows: slice) -> Float[Tensor, "c h W"]:
        """Returns some rows."""


class _Picture(_Scale):
    """The finest scale: a picture of Pillow, whose bytes become numbers strip by strip."""

    def __init__(self, picture: Image.Image) -> None:
        self.width, self.height = picture.size
        self._picture = picture

    def rows(self, rows: slice) -> Float[Tensor, "c h W"]:
        values = _values(self._picture, rows, self._picture.mode, np.float32)
        return torch.from_numpy(values).permute(2, 0, 1) / 255


class _Halved(_Scale):
    """A coarser scale: a quarter of the numbers of the one before, all in memory."""

    def __init__(self, values: Float[Tensor, "c H W"]) -> None:
        self.height, self.width = values.shape[1:]
        self._values = values

    @classmethod
    def of(cls, finer: _Scale) -> "_Halved":
        """Averages squares of 2 x 2; an odd last row or column is left out."""
        parts = [
            F.avg_pool2d(finer.rows(rows), 2)
            for rows in strips(finer.height, finer.width, multiple=2)
            if rows.stop - rows.start > 1
        ]
        return cls(torch.cat(parts, dim=1))

    def rows(self, rows: slice) -> Float[Tensor, "c h W"]:
        return self._values[:, rows]


def _contrast(pair: Sequence[_Scale]) -> float:
    """Computes the mean contrast sensitivity at the places whose window lies inside the picture."""
    inner = pair[0].height - 2 * _BORDER
    total = 0.0
    for strip in strips(inner, pair[0].width):
        # The windows of `inner` row 0 begin at row 0. torchmetrics leaves a border out of the mean.
        around = slice(strip.start, strip.stop + 2 * _BORDER)
        total += _ssim(pair, around)[1] * ((strip.stop - strip.start) / inner)
    return total


def _ssim(pair: Sequence[_Scale], rows: slice) -> tuple[float, float]:
    """Computes the similarity of some rows, borders included, and their contrast sensitivity without a border."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    one, other = (each.rows(rows)[None] for each in pair)
    found = structural_similarity_index_measure(
        one, other, data_range=1.0, reduction="none", return_contrast_sensitivity=True
    )
    assert isinstance(found, tuple)
    return float(found[0]), float(found[1])


def _values(picture: Image.Image, rows: slice, mode: str, dtype: type[np.floating]) -> np.ndarray:
    part = picture.crop((0, rows.start, picture.width, rows.stop))
    return np.atleast_3d(np.asarray(part if part.mode == mode else part.convert(mode), dtype=dtype))
