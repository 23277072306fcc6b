"""Convolutions with few taps as matrix products over gathered neighbours: on a CPU as fast as a product can be.

A library's convolution computes closed taps as well, and those that fall outside a small grid. Here the features that
the taps of a position read are laid side by side, and one matrix multiplies them; rows of the grid for which whole
rows of the kernel fall outside go without these.

Legend: `b` batch, `c` channels in, `o` channels out, `h w` grid, `n` its positions (row-major), `taps` of the kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GATHERED_ELEMENTS = 1 << 21
"""Gathered features held at once: 8 MiB of float32, so that they stay in the cache until they are multiplied."""


@dataclass(frozen=True)
class RowBand:
    """Rows of the grid that read the same taps.

    Attributes:
        positions: Their flat positions, `[begin, end)`.
        taps: The taps that fall inside the grid for at least one column, `[begin, end)`.
        neighbours: `(positions, taps)` flat: what each tap of each position reads; `n` stands for a zero outside.
    """

    positions: slice
    taps: slice
    neighbours: Int[Tensor, " positions*taps"]


def row_bands(offsets: Sequence[tuple[int, int]], height: int, width: int) -> list[RowBand]:
    """Groups the rows of a grid by the taps that they read.

    Args:
        offsets: `(dr, dc)` of every tap, in order of dr, upwards or downwards.
        height: Rows of the grid.
        width: Columns of the grid.
    """

    def taps_of(row: int) -> tuple[int, int]:
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
    inside = 0 <= row < height and 0 <= column < width
    return row * width + column if inside else height * width


class TapProduct(torch.autograd.Function):
    """out[p] = sum_i in[p + offset_i] W_i; gathers anew in the backward pass rather than keep what it gathered."""

    @staticmethod
    def forward(
        ctx,
        features: Float[Tensor, "b n c"],
        weight: Float[Tensor, "taps c o"],
        bands: Sequence[RowBand],
        reversed_bands: Sequence[RowBand],
    ) -> Float[Tensor, "b n o"]:
        """Args: `bands` of the offsets, `reversed_bands` of the negated offsets in the same order."""
        ctx.save_for_backward(features, weight)
        ctx.bands, ctx.reversed_bands = bands, reversed_bands
        return _product(features, weight, bands)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Float[Tensor, "b n o"]) -> tuple[Tensor | None, Tensor | None, None, None]:
        """To the features by the same product with reversed taps, to the weights by the gathered features."""
        features, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            to_features = _product(gradient, weight.transpose(1, 2).contiguous(), ctx.reversed_bands)
        if ctx.needs_input_grad[1]:
            to_weight = _weight_gradient(features, gradient, weight, ctx.bands)
        return to_features, to_weight, None, None


def _product(features: Tensor, weight: Tensor, bands: Sequence[RowBand]) -> Tensor:
    result = features.new_empty(*features.shape[:2], weight.shape[2])
    for band in bands:
        matrix = weight[band.taps].flatten(0, 1)
        for images, gathered in _gather(features, band):
            result[images, band.positions] = (gathered @ matrix).unflatten(0, (-1, _length(band.positions)))
    return result


def _weight_gradient(features: Tensor, gradient: Tensor, weight: Tensor, bands: Sequence[RowBand]) -> Tensor:
    # half precision would lose in the sum of the chunks what one product keeps
    total = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
    for band in bands:
        part = total[band.taps].flatten(0, 1)
        for images, gathered in _gather(features, band):
            rows = gradient[images, band.positions].flatten(0, 1)
            if rows.dtype == part.dtype:
                torch.addmm(part, gathered.T, rows, out=part)
            else:
                part += gathered.T @ rows
    return total.to(weight.dtype)


def _gather(features: Tensor, band: RowBand) -> Iterator[tuple[slice, Tensor]]:
    """Some images at a time: which, and what the taps of the band read there, `(images*positions, taps*c)`."""
    images, n, channels = features.shape
    chunk = max(1, _GATHERED_ELEMENTS // max(1, len(band.neighbours) * channels))
    chunk = min(chunk, images)
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
