"""Images in windows: a VQ-VAE's codes and pixels in memory that does not grow with the picture.

A window is a core and the margin around it that the codes or pixels of the core depend on. So the results are those of
the whole picture, up to rounding. A picture that takes little memory is one window, without a margin. With attention, a
window begins where a square of the attention does.

Legend: `b` batch, `c` channels, `h w` window. A cell is a position of the coarsest level: `downsample[0]` pixels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import isqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.codes import Codes
from vqgen.models.banded import with_bands
from vqgen.models.feature_memory import bytes_per_pixel
from vqgen.models.margins import alignment, decoding_margin, encoding_margin, latents_margin
from vqgen.models.vqvae import VQVAE

WORKING_SET = 1 << 27
"""Bytes of the features of a window in float32, or of a batch of smaller pictures: 128 MiB."""

Slices = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Side:
    """The rows or the columns of a window, in cells.

    Attributes:
        core: The cells that the window is for.
        outer: The same with the margin, or more at the edges of the picture.
    """

    core: range
    outer: range


@dataclass(frozen=True)
class Window:
    """A part of a picture.

    Attributes:
        rows: Its rows.
        columns: Its columns.
    """

    rows: Side
    columns: Side

    def core(self, factor: int) -> Slices:
        """Returns the core in the whole grid.

        Args:
            factor: Positions of the grid in a cell, along one side.
        """
        return _scaled(self.rows.core, factor), _scaled(self.columns.core, factor)

    def outer(self, factor: int) -> Slices:
        """Returns the core with its margin in the whole grid."""
        return _scaled(self.rows.outer, factor), _scaled(self.columns.outer, factor)

    def inner(self, factor: int) -> Slices:
        """Returns the core in the grid of the window alone."""
        rows, columns = self.rows, self.columns
        return _scaled(rows.core, factor, rows.outer.start), _scaled(columns.core, factor, columns.outer.start)


class Windows:
    """Encodes and decodes pictures of any size with a VQ-VAE, window by window.

    Args:
        vqvae: The VQ-VAE, in evaluation mode.
        working_set: Bytes that the features of a window may take, in float32. A window is larger if its margin is.
    """

    def __init__(self, vqvae: VQVAE, working_set: int = WORKING_SET) -> None:
        self.vqvae = vqvae
        self.working_set = working_set
        self._room_of_bands = working_set // 4
        self._banded = with_bands(vqvae, self._room_of_bands)
        self._stride = vqvae.config.downsample[0]
        self._factors = [self._stride // factor for factor in vqvae.config.grid_factors]
        self._unit = alignment(vqvae)

    @cached_property
    def most_pixels(self) -> int:
        """Pixels of the largest picture, or batch of pictures, that is processed as a whole and not in bands."""
        return max(1, self.working_set // bytes_per_pixel(self.vqvae))

    @cached_property
    def window_pixels(self) -> int:
        """Pixels of the largest window, whose finest features are computed in bands."""
        left = self.working_set - self._room_of_bands
        return max(1, self.most_pixels, left // self._bytes_per_pixel)

    @cached_property
    def _bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self.vqvae, in_bands=True)

    @cached_property
    def window_bytes(self) -> int:
        """Bytes that the largest window takes: the working set, or the least window of a model with a wide margin."""
        widest = _raised(max(self._encoding_margin, self._decoding_margin, 1), self._unit)
        least = (3 * widest * self._stride) ** 2
        return max(self.working_set, least * self._bytes_per_pixel + self._room_of_bands)

    @cached_property
    def _encoding_margin(self) -> int:
        return encoding_margin(self.vqvae)

    @cached_property
    def _decoding_margin(self) -> int:
        return decoding_margin(self.vqvae)

    def encode(self, height: int, width: int, read: Callable[[Slices], Float[Tensor, "1 c h w"]]) -> Codes:
        """Encodes one picture.

        Args:
            height: Rows in pixels, a multiple of the coarsest level's downsampling.
            width: Columns in pixels, a multiple as well.
            read: Rows and columns -> these pixels in [-1, 1], on the device of the model.

        Returns:
            The codes, on the CPU.
        """
        grids = {
            level: torch.empty(1, height // factor, width // factor, dtype=torch.int64)
            for level, factor in zip(self.vqvae.levels, self.vqvae.config.grid_factors, strict=True)
        }
        for window, vqvae in self._cut(height, width, self._encoding_margin, self.window_pixels):
            found = vqvae.encode(read(window.outer(self._stride)))
            for level, factor in zip(self.vqvae.levels, self._factors, strict=True):
                rows, columns = window.core(factor)
                inner_rows, inner_columns = window.inner(factor)
                grids[level][:, rows, columns] = found.grids[level][:, inner_rows, inner_columns].cpu()
        return Codes(grids)

    def latents(
        self,
        height: int,
        width: int,
        read: Callable[[Slices], Float[Tensor, "1 c h w"]],
        codes: Mapping[str, Int[Tensor, "1 _h _w"]],
    ) -> Float[Tensor, "1 d _h _w"]:
        """Computes the latents of one grid of a picture, on the CPU; see `VQVAE.latents`.

        Args:
            height: As in `encode`.
            width: As in `encode`.
            read: As in `encode`.
            codes: Codes of the whole grids before it, on the device of the model.
        """
        factor = self._factors[len(codes)]
        whole: Tensor | None = None
        margin = latents_margin(self.vqvae, self.vqvae.config.levels_of_grids[len(codes)])
        for window, vqvae in self._cut(height, width, margin, self.window_pixels):
            part = {
                level: grid[(slice(None), *window.outer(each))]
                for (level, grid), each in zip(codes.items(), self._factors, strict=False)
            }
            found = vqvae.latents(read(window.outer(self._stride)), part).cpu()
            if whole is None:
                scale = self._stride // factor
                whole = found.new_empty(1, found.shape[1], height // scale, width // scale)
            whole[(..., *window.core(factor))] = found[(..., *window.inner(factor))]
        assert whole is not None
        return whole

    def decode(self, codes: Codes) -> Iterator[tuple[Slices, Float[Tensor, "1 c h w"]]]:
        """Decodes one picture.

        Args:
            codes: Its codes, on any device.

        Yields:
            Rows and columns in the picture, and their pixels in [-1, 1], on the device of the model.
        """
        device = next(self.vqvae.parameters()).device
        _, rows, columns = codes.grids[self.vqvae.levels[0]].shape
        size = (rows * self._stride, columns * self._stride)
        # The margin of decoding is narrow, so windows of half the memory cost little.
        for window, vqvae in self._cut(*size, self._decoding_margin, self.window_pixels // 2):
            part = {}
            for level, factor in zip(self.vqvae.levels, self._factors, strict=True):
                outer_rows, outer_columns = window.outer(factor)
                part[level] = codes.grids[level][:, outer_rows, outer_columns].to(device)
            inner_rows, inner_columns = window.inner(self._stride)
            yield window.core(self._stride), vqvae.decode(Codes(part))[:, :, inner_rows, inner_columns]

    def _cut(self, height: int, width: int, margin: int, most_pixels: int) -> Iterator[tuple[Window, VQVAE]]:
        """Cuts a picture into windows of so many pixels, row by row, and yields each with the model that computes it.

        A small picture is one window.
        """
        rows = height // self._stride
        columns = width // self._stride
        is_small = height * width <= self.most_pixels
        area = (self.most_pixels if is_small else most_pixels) // self._stride**2  # in cells
        # About square, because a square has the smallest margin; longer in one direction if the picture is narrow.
        tall = min(rows, isqrt(area))
        wide = min(columns, area // max(1, tall))
        tall = min(rows, area // max(1, wide))
        sides = product(_sides(rows, tall, margin, self._unit), _sides(columns, wide, margin, self._unit))
        yield from ((Window(*pair), self.vqvae if is_small else self._banded) for pair in sides)


def _sides(total: int, longest: int, margin: int, unit: int) -> list[Side]:
    """Cuts a side of a picture.

    Args:
        total: Cells of the side.
        longest: Cells of a window with its margin.
        margin: Cells of the margin.
        unit: Every window begins at a multiple of so many cells.
    """
    if total <= longest:
        return [Side(range(total), range(total))]
    margin = _raised(margin, unit)
    # A core that is smaller than its margin would cost more than nine times the work of the whole picture.
    most = max((longest - 2 * margin) // unit * unit, margin, unit)
    # All about equal, as a last one of few cells would cost as much as the others.
    step = _raised(-(-total // -(-total // most)), unit)
    # All of one size, also at the edges: memory that one window frees then fits the next one.
    size = min(total, step + 2 * margin)
    cores = [range(begin, min(begin + step, total)) for begin in range(0, total, step)]
    latest = _raised(total - size, unit)
    starts = [min(max(0, core.start - margin), latest) for core in cores]
    return [Side(core, range(start, min(start + size, total))) for core, start in zip(cores, starts, strict=True)]


def _raised(cells: int, unit: int) -> int:
    """Returns the least multiple of a unit that is not below a number."""
    return -(-cells // unit) * unit


def _scaled(cells: range, factor: int, origin: int = 0) -> slice:
    return slice((cells.start - origin) * factor, (cells.stop - origin) * factor)
