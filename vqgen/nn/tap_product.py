"""Convolutions with few taps as matrix products over gathered neighbours, at the speed of a matrix product on a CPU.

    features (n, b, c) --> gather the c features of each tap --> (n b, taps c) @ (taps c, o) --> (n, b, o)

A library's convolution also computes closed taps, and taps that fall outside a small grid. The gathered rows contain
open taps only. A row of the grid whose kernel rows fall outside the grid skips these kernel rows, too.

Positions come first. So the rows of a band of positions lie side by side in memory, for all images, and a product
writes them in place. A shift of the grid moves whole blocks of `b c` numbers.

Legend: `b` batch, `c` channels in, `o` channels out, `h w` grid, `n` flattened positions (row-major), `taps` taps of
the kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

GATHERED_ELEMENTS = 1 << 21
"""Gathered features at a time: 8 MiB of float32, so that they stay in the cache until they are multiplied."""


@dataclass(frozen=True)
class RowBand:
    """A band of neighbouring grid rows that read the same taps.

    Attributes:
        rows: The rows of the grid, `[begin, end)`.
        width: Columns of the grid.
        taps: The taps whose row lies inside the grid, `[begin, end)`.
        offsets: `(dr, dc)` of these taps.
        neighbours: `(rows, columns, taps)`, flattened: the flat position that each tap of each position reads. `n`
            stands for a zero outside the grid.
    """

    rows: slice
    width: int
    taps: slice
    offsets: tuple[tuple[int, int], ...]
    neighbours: Int[Tensor, " rows_x_columns_x_taps"]


def row_bands(offsets: Sequence[tuple[int, int]], height: int, width: int) -> list[RowBand]:
    """Groups the rows of a grid by the taps that they read.

    Args:
        offsets: `(dr, dc)` of every tap, sorted by dr, upwards or downwards.
        height: Rows of the grid.
        width: Columns of the grid.

    Returns:
        Bands that cover the grid from top to bottom.
    """

    def taps_of(row: int) -> tuple[int, int]:
        # Sorted by dr, the taps inside the grid form one slice of the weights, which needs no copy.
        inside = [tap for tap, (dr, _) in enumerate(offsets) if 0 <= row + dr < height]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    bands = []
    for (begin, end), group in groupby(range(height), key=taps_of):
        rows = list(group)
        own = tuple(offsets[begin:end])
        neighbours = [
            _flat(row + dr, column + dc, height, width) for row in rows for column in range(width) for dr, dc in own
        ]
        indices = torch.tensor(neighbours, dtype=torch.int64)
        bands.append(RowBand(slice(rows[0], rows[-1] + 1), width, slice(begin, end), own, indices))
    return bands


def _flat(row: int, column: int, height: int, width: int) -> int:
    """Returns the flat position of a row and a column, or `n` outside the grid."""
    inside = 0 <= row < height and 0 <= column < width
    return row * width + column if inside else height * width


@dataclass(frozen=True)
class Chunk:
    """Some rows of a band, for which the features of all taps are gathered together.

    Attributes:
        band: The band.
        rows: The rows of the grid, `[begin, end)`.
        images: Number of images, b.
        channels: Number of channels, c.
    """

    band: RowBand
    rows: slice
    images: int
    channels: int

    @property
    def outputs(self) -> slice:
        """The rows that its positions have in a matrix `(n b, ...)`."""
        return _times(self.rows, self.band.width * self.images)

    @property
    def inputs(self) -> slice:
        """The rows that its taps have in a matrix `(taps c, ...)`."""
        return _times(self.band.taps, self.channels)

    def gather(self, padded: Float[Tensor, "n_plus_1 b c"]) -> Float[Tensor, "positions_x_b taps_x_c"]:
        """Gathers the features that the taps read. The last position of `padded` holds the zeros outside the grid."""
        taps = len(self.band.offsets)
        first = (self.rows.start - self.band.rows.start) * self.band.width * taps
        count = (self.rows.stop - self.rows.start) * self.band.width * taps
        neighbours = self.band.neighbours[first : first + count].view(-1, 1, taps)
        # Row `position * b + image` of the flattened features is a position of an image.
        chosen = neighbours * self.images + torch.arange(self.images)[:, None]
        found = torch.index_select(padded.flatten(0, 1), 0, chosen.flatten())
        return found.view(-1, taps * self.channels)

    def scatter_add(self, gradient: Float[Tensor, "positions_x_b taps_x_c"], into: Float[Tensor, "h w b c"]) -> None:
        """Adds the gradient of the gathered features to the gradient of the features: the transpose of `gather`."""
        width = self.band.width
        parts = gradient.view(-1, width, self.images, gradient.shape[1])
        for tap, (dr, dc) in enumerate(self.band.offsets):
            # The columns whose neighbour lies inside the grid: whole blocks, which are added without an index.
            inside = slice(max(0, -dc), min(width, width - dc))
            part = parts[:, inside, :, tap * self.channels : (tap + 1) * self.channels]
            into[self.rows.start + dr : self.rows.stop + dr, inside.start + dc : inside.stop + dc] += part


def chunks(bands: Sequence[RowBand], images: int, channels: int) -> Iterator[Chunk]:
    """Cuts the bands into chunks that gather at most `GATHERED_ELEMENTS` numbers, or a single row of the grid."""
    for band in bands:
        elements = band.width * len(band.offsets) * images * channels  # of a row
        step = max(1, GATHERED_ELEMENTS // max(1, elements))
        for begin in range(band.rows.start, band.rows.stop, step):
            yield Chunk(band, slice(begin, min(begin + step, band.rows.stop)), images, channels)


def with_zeros(features: Float[Tensor, "h w b c"]) -> Float[Tensor, "n_plus_1 b c"]:
    """Flattens the positions and appends one of zeros, which taps outside the grid read. So no tap needs a mask."""
    return torch.cat([features.flatten(0, 1), features.new_zeros(1, *features.shape[2:])])


class TapProduct(torch.autograd.Function):
    """The sum over taps out[p] = sum_i in[p + offset_i] W_i, with its gradient.

    The backward pass gathers the neighbours again: keeping them would take `taps` times the memory of the features.
    """

    @staticmethod
    def forward(
        ctx, features: Float[Tensor, "h w b c"], weight: Float[Tensor, "taps c o"], bands: Sequence[RowBand]
    ) -> Float[Tensor, "h w b o"]:
        """Computes the sum.

        Args:
            ctx: Carries the inputs to the backward pass.
            features: The input.
            weight: One matrix per tap.
            bands: `row_bands` of the offsets of the taps.
        """
        ctx.save_for_backward(features, weight)
        ctx.bands = bands
        padded = with_zeros(features)
        matrix = weight.flatten(0, 1)
        result = features.new_empty(*features.shape[:3], weight.shape[2])
        rows = result.flatten(0, 2)  # a view
        for chunk in chunks(bands, *features.shape[2:]):
            torch.mm(chunk.gather(padded), matrix[chunk.inputs], out=rows[chunk.outputs])
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Float[Tensor, "h w b o"]) -> tuple[Tensor | None, Tensor | None, None]:
        """Computes the gradients of the features and of the weights."""
        features, weight = ctx.saved_tensors
        # At least float32: one product in half precision accumulates in float32, so sums over chunks and taps must,
        # too.
        exact = torch.promote_types(weight.dtype, torch.float32)
        matrix = weight.flatten(0, 1)
        rows = gradient.flatten(0, 2)
        to_features = torch.zeros_like(features, dtype=exact) if ctx.needs_input_grad[0] else None
        to_weight = torch.zeros_like(matrix, dtype=exact) if ctx.needs_input_grad[1] else None
        padded = with_zeros(features)
        for chunk in chunks(ctx.bands, *features.shape[2:]):
            own = rows[chunk.outputs]
            if to_weight is not None:
                add_product(to_weight[chunk.inputs], chunk.gather(padded).T, own)
            if to_features is not None:
                # The product comes before the scattering: it has half the columns of a gathered gradient.
                chunk.scatter_add(own @ matrix[chunk.inputs].T, to_features)
        return _as(to_features, features), _as(to_weight, weight), None


def add_product(total: Float[Tensor, "m o"], left: Float[Tensor, "m n"], right: Float[Tensor, "n o"]) -> None:
    """Adds a matrix product to `total`, in place and in the dtype of `total`."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _as(gradient: Tensor | None, like: Tensor) -> Tensor | None:
    return None if gradient is None else gradient.to(like.dtype).view_as(like)


def _times(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)
