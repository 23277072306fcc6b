"""Convolutions with few taps as matrix products over gathered neighbours, at the speed of a matrix product on a CPU.

    features (n, c) --> gather, per position, the c features of each tap --> (n, taps * c) @ (taps * c, o) --> (n, o)

A library's convolution also computes closed taps, and taps that fall outside a small grid. The gathered rows contain
open taps only. A row of the grid whose kernel rows fall outside the grid skips these kernel rows, too.

Legend: `b` batch, `c` channels in, `o` channels out, `h w` grid, `n` flattened positions (row-major), `taps` taps of
the kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GATHERED_ELEMENTS = 1 << 21
"""Gathered features at a time: 8 MiB of float32, so that they stay in the cache until they are multiplied."""


@dataclass(frozen=True)
class RowBand:
    """A band of neighbouring grid rows that read the same taps.

    Attributes:
        positions: The flat positions of the band, `[begin, end)`.
        taps: The taps whose row lies inside the grid, `[begin, end)`.
        neighbours: `(positions, taps)`, flattened: the flat position that each tap of each position reads. `n` stands
            for a zero outside the grid.
    """

    positions: slice
    taps: slice
    neighbours: Int[Tensor, " positions_x_taps"]


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
        neighbours = [
            _flat(row + dr, column + dc, height, width)
            for row in rows
            for column in range(width)
            for dr, dc in offsets[begin:end]
        ]
        positions = slice(rows[0] * width, (rows[-1] + 1) * width)
        bands.append(RowBand(positions, slice(begin, end), torch.tensor(neighbours, dtype=torch.int64)))
    return bands


def _flat(row: int, column: int, height: int, width: int) -> int:
    """Returns the flat position of a row and a column, or `n` outside the grid."""
    inside = 0 <= row < height and 0 <= column < width
    return row * width + column if inside else height * width


class TapProduct(torch.autograd.Function):
    """The sum over taps out[p] = sum_i in[p + offset_i] W_i, with its gradient.

    The backward pass gathers the neighbours again: keeping them would take `taps` times the memory of the features.
    """

    @staticmethod
    def forward(
        ctx,
        features: Float[Tensor, "b n c"],
        weight: Float[Tensor, "taps c o"],
        bands: Sequence[RowBand],
        reversed_bands: Sequence[RowBand],
    ) -> Float[Tensor, "b n o"]:
        """Computes the sum.

        Args:
            ctx: Carries the inputs to the backward pass.
            features: The input.
            weight: One matrix per tap.
            bands: `row_bands` of the offsets of the taps.
            reversed_bands: `row_bands` of the negated offsets, in the same order.
        """
        ctx.save_for_backward(features, weight)
        ctx.bands = bands
        ctx.reversed_bands = reversed_bands
        return _product(features, weight, bands)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Float[Tensor, "b n o"]) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Computes the gradients of the features and of the weights."""
        features, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            # Position q feeds the outputs at q - offset_i, so this is the same sum with reversed taps and W_i^T.
            to_features = _product(gradient, weight.transpose(1, 2).contiguous(), ctx.reversed_bands)
        if ctx.needs_input_grad[1]:
            to_weight = _weight_gradient(features, gradient, weight, ctx.bands)
        return to_features, to_weight, None, None


def _product(features: Tensor, weight: Tensor, bands: Sequence[RowBand]) -> Tensor:
    """Computes the sum over taps, `(b, n, o)`, band by band."""
    result = features.new_empty(*features.shape[:2], weight.shape[2])
    for band in bands:
        matrix = weight[band.taps].flatten(0, 1)
        for images, gathered in _gather(features, band):
            result[images, band.positions] = (gathered @ matrix).unflatten(0, (-1, _length(band.positions)))
    return result


def _weight_gradient(features: Tensor, gradient: Tensor, weight: Tensor, bands: Sequence[RowBand]) -> Tensor:
    """Computes dW_i = sum_p in[p + offset_i]^T dout[p] over all images."""
    # At least float32: one product in half precision accumulates in float32, so the sum over chunks must, too.
    total = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
    for band in bands:
        part = total[band.taps].flatten(0, 1)  # a view: adding to it adds to `total`
        for images, gathered in _gather(features, band):
            rows = gradient[images, band.positions].flatten(0, 1)
            if rows.dtype == part.dtype:
                torch.addmm(part, gathered.T, rows, out=part)
            else:
                part += gathered.T @ rows
    return total.to(weight.dtype)


def _gather(features: Tensor, band: RowBand) -> Iterator[tuple[slice, Tensor]]:
    """Yields some images at a time, with the features that the taps of the band read, `(images * positions, taps * c)`.

    All chunks share one buffer: the caller is done with a chunk before it takes the next.
    """
    images, n, channels = features.shape
    chunk = max(1, _GATHERED_ELEMENTS // max(1, len(band.neighbours) * channels))
    chunk = min(chunk, images)
    # Position n of each image is a zero, which taps outside the grid read. So no tap needs a mask.
    zeros = features.new_zeros(images, 1, channels)
    padded = torch.cat([features, zeros], dim=1).flatten(0, 1)
    indices = torch.arange(chunk)[:, None] * (n + 1) + band.neighbours
    buffer = features.new_empty(indices.numel(), channels)
    taps = _length(band.taps)
    for begin in range(0, images, chunk):
        count = min(chunk, images - begin)
        chosen = indices[:count].flatten()
        torch.index_select(padded[begin * (n + 1) :], 0, chosen, out=buffer[: len(chosen)])
        yield slice(begin, begin + count), buffer[: len(chosen)].view(-1, taps * channels)


def _length(span: slice) -> int:
    return span.stop - span.start
