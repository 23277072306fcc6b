"""A prior in fixed point, on a grid of any size, one step of its order after the other.

It is for priors that treat all places alike (`is_alike_everywhere`). A step needs the features of the last few steps
only, so the memory grows with a side of the grid and not with its area.

    time         t(r, c) = c + slope * r, with the slope of the prior, whatever the width of the grid
    ring         features of the last `slots` times, one row of the grid each: a tap (dr, dc) that looks back by
                 `lag` = -(dc + slope * dr) reads time t - lag, rows shifted by dr

Legend: `b` images, `m` positions of a step, `c` channels, `k` codebook entries, `hc wc` coarser grid, `rows` rows of
the grid with half a kernel of zeros above and below, `taps` open taps of a convolution.
"""

from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.codec.fixed_point import LARGEST, FixedLinear, FixedNorm, fixed_gate, fixed_gelu, to_fixed
from vqgen.codec.frequencies import frequencies_of_logits
from vqgen.codes import separate_codes
from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.channel_norm import ChannelNorm
from vqgen.nn.gated_block import GatedBlock, PointwiseBlock
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.nn.residual import ResidualBlock

_POSITIONS_AT_A_TIME = 1 << 9
"""Positions of the coarser grid whose neighbourhoods are gathered together, in whole rows: those of a whole grid would
take nine times its memory, in float64."""


class FixedConvolution:
    """A masked convolution without its bias, on gathered rows of a ring."""

    def __init__(self, convolution: MaskedConv2d, slope: int, kernel_size: int) -> None:
        self.lags = [(-(dc + slope * dr), dr + kernel_size // 2) for dr, dc in convolution.offsets]
        self.linear = FixedLinear(rearrange(convolution.weight.detach(), "o c taps -> o (taps c)"))

    def __call__(self, ring: "Ring", time: int, first: int, count: int) -> Float64[Tensor, "m b out"]:
        """Convolves at the positions of a time: those in the rows `first` to `first + count - 1`."""
        parts = [ring.at(time - lag)[first + shift : first + shift + count] for lag, shift in self.lags]
        return self.linear(torch.cat(parts, dim=-1))


class Ring:
    """The features of the last times, with zeros wherever a time has no position on the grid.

    Args:
        slots: Times that are kept.
        rows: Rows of the grid, with half a kernel above and below.
        like: A tensor `(..., b, c)` of the same sizes, dtype and device.

    Attributes:
        rows: The same.
        features: `(slots, rows, b, c)`.
    """

    def __init__(self, slots: int, rows: int, like: Float64[Tensor, "*n b c"]) -> None:
        self.rows = rows
        self.features = like.new_zeros(slots, rows, *like.shape[-2:])

    def at(self, time: int) -> Float64[Tensor, "rows b c"]:
        """Returns the features of a time; zeros, the padding of a convolution, where nothing was stored.

        A time without a position keeps what an older one left. No tap reads it: in a row, the older time is `slots`
        columns to the left, and only grids narrower than the slope have such times.
        """
        return self.features[time % len(self.features)]

    def store(self, time: int, first: int, features: Float64[Tensor, "m b c"]) -> None:
        """Keeps the features of the rows from `first` on at a time, in place of the oldest time."""
        slot = self.at(time)
        slot.zero_()
        slot[first : first + len(features)] = features


class FixedBlock:
    """A gated block."""

    def __init__(self, block: GatedBlock, slope: int, kernel_size: int) -> None:
        self.norm = FixedNorm(block.norm)
        self.convolution = FixedConvolution(block.convolution, slope, kernel_size)
        self.label = FixedLinear(block.label.weight, block.convolution.bias)
        self.condition = None if block.condition is None else FixedLinear(block.condition.weight)
        self.project = FixedLinear(block.project.weight, block.project.bias)

    def add_to(
        self, features: Float64[Tensor, "m b c"], convolved: Float64[Tensor, "m b out"]
    ) -> Float64[Tensor, "m b c"]:
        """Adds the gated features, given the sum of the convolution and its conditioning."""
        return (features + self.project(fixed_gate(convolved))).clamp_(-LARGEST, LARGEST)


class FixedPrior:
    """A prior whose logits are the same numbers on every machine.

    Args:
        prior: The model in float64, alike everywhere.

    Attributes:
        model: The same.
        slope: Steps by which a row lags behind the row above it.
        half: Rows of zeros above and below a grid.
        slots: Times that a convolution looks back, and its own.
        embedding: The embedded codes, `(k, c)`.
    """

    def __init__(self, prior: PixelCNN) -> None:
        assert prior.config.is_alike_everywhere
        self.model = prior
        self.slope = prior.order.effective_slope
        kernel_size = prior.config.kernel_size
        self.half = kernel_size // 2
        self.embedding = to_fixed(prior.embedding.weight.detach())
        self.first = FixedConvolution(prior.first, self.slope, kernel_size)
        self.first_bias = to_fixed(prior.first.bias.detach())
        self.blocks = [
            FixedBlock(each, self.slope, kernel_size) for each in prior.blocks if isinstance(each, GatedBlock)
        ]
        self.slots = 1 + max(lag for block in self.blocks for lag, _ in block.convolution.lags)
        *blocks, norm, logits = prior.output
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(logits, nn.Linear)
        self.output = [
            (FixedNorm(each.norm), FixedLinear(each.expand.weight, each.expand.bias),
             FixedLinear(each.project.weight, each.project.bias))
            for each in blocks if isinstance(each, PointwiseBlock)
        ]  # fmt: skip
        self.norm = FixedNorm(norm)
        self.logits = FixedLinear(logits.weight, logits.bias)
        self._labels = to_fixed(prior.label_embedding.weight.detach())
        self.coarser = _Coarser(prior) if prior.config.is_conditioned else None

    def embed_labels(self, labels: Int64[Tensor, " b"]) -> Float64[Tensor, "b c"]:
        """Embeds the labels, with the null label for -1."""
        return self._labels[torch.where(labels < 0, len(self._labels) - 1, labels)]

    def to_logits(self, features: Float64[Tensor, "m b c"]) -> Float64[Tensor, "m b k"]:
        """Applies the output stack."""
        for norm, expand, project in self.output:
            features = (features + project(fixed_gelu(expand(norm(features))))).clamp_(-LARGEST, LARGEST)
        return self.logits(self.norm(features))


class _Coarser:
    """The layers that read the coarser codes."""

    def __init__(self, prior: PixelCNN) -> None:
        self.embedding = to_fixed(prior.coarser_embedding.weight.detach())
        self.blocks = [
            (FixedLinear(each.spatial.weight.flatten(1), each.spatial.bias),
             FixedLinear(each.pointwise.weight.flatten(1), each.pointwise.bias))
            for each in prior.coarser_stack if isinstance(each, ResidualBlock)
        ]  # fmt: skip
        config = prior.config
        self.norm = FixedNorm(prior.coarser_norm) if isinstance(prior.coarser_norm, ChannelNorm) else None
        self._grids = config.conditioning_grids
        self._codebook_size = config.codebook_size
        self.ratio = (config.height // config.coarser_height, config.width // config.coarser_width)
        # One matrix for each place in the patch of a coarser position, all side by side.
        patches = rearrange(prior.upsample.weight.detach(), "c out y x -> (y x out) c")
        assert prior.upsample.bias is not None
        places = self.ratio[0] * self.ratio[1]
        self.upsample = FixedLinear(patches, prior.upsample.bias.detach().repeat(places))
        self.patches = self.upsample.split(places)

    def encode(self, codes: Int64[Tensor, "b hc wc"]) -> Float32[Tensor, "b hc wc c"]:
        """Computes the features of the coarser grid; they fit into float32, as they have at most 21 bits."""
        features = self._embed(codes)
        for spatial, pointwise in self.blocks:
            self._add_block(spatial, pointwise, features)
        features.clamp_(min=0)
        if self.norm is not None:
            for rows in features.split(self._rows(features), dim=1):
                rows.copy_(self.norm(rows.double().contiguous()))
        return features

    @staticmethod
    def _rows(features: Float32[Tensor, "b hc wc c"]) -> int:
        """Returns the rows to compute at a time."""
        return max(1, _POSITIONS_AT_A_TIME // features.shape[2])

    def _embed(self, codes: Int64[Tensor, "b hc wc"]) -> Float32[Tensor, "b hc wc c"]:
        """Adds up the embeddings of the codes of all grids, some rows at a time to save memory."""
        features = self.embedding.new_empty((*codes.shape, self.embedding.shape[1]), dtype=torch.float32)
        count = self._rows(features)
        for rows, part in zip(features.split(count, dim=1), codes.split(count, dim=1), strict=True):
            grids = separate_codes(part, self._grids, self._codebook_size)
            rows.copy_(self.embedding[grids[0]])
            for place, grid in enumerate(grids[1:], start=1):
                rows.copy_((rows + self.embedding[grid + place * self._codebook_size]).clamp_(-LARGEST, LARGEST))
        return features

    def _add_block(self, spatial: FixedLinear, pointwise: FixedLinear, features: Float32[Tensor, "b hc wc c"]) -> None:
        """Applies a block in place: the features of a large picture are the most that the codec keeps."""
        height, count = features.shape[1], self._rows(features)
        above = torch.zeros_like(features[:, :1])
        for begin in range(0, height, count):
            rows = features[:, begin : begin + count]
            # With a row above, as it was before the block, and a row below.
            near = torch.cat([above, features[:, begin : begin + count + 1]], dim=1).clamp_(min=0)
            near = F.pad(near, (0, 0, 1, 1, 0, rows.shape[1] + 2 - near.shape[1]))
            above = rows[:, -1:].clone()
            near = near.double().unfold(1, 3, 1).unfold(2, 3, 1)
            inner = spatial(rearrange(near, "b h w c y x -> b h w (c y x)")).clamp_(min=0)
            rows.copy_((rows + pointwise(inner)).clamp_(-LARGEST, LARGEST))

    def at(
        self, features: Float32[Tensor, "b hc wc c"], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> Float64[Tensor, "m b c"]:
        """Computes the condition at positions `(m,)` of the finer grid."""
        height, width = self.ratio
        coarser = features[:, rows // height, columns // width].double().transpose(0, 1)
        patches = self.upsample(coarser).unflatten(-1, (height * width, -1))  # (m, b, place, c)
        return patches[np.arange(len(rows)), :, (rows % height) * width + columns % width]


class FixedSteps:
    """A prior in fixed point that moves over the grids of some images, one time after the other.

    Args:
        prior: The prior.
        height: Rows of the grid.
        width: Columns of the grid.
        labels: Labels of the images; -1 without a label.
        coarser: The codes that condition the prior; None for the coarsest level.
    """

    def __init__(
        self,
        prior: FixedPrior,
        height: int,
        width: int,
        labels: Int64[Tensor, " b"],
        coarser: Int64[Tensor, "b hc wc"] | None,
    ) -> None:
        self._prior = prior
        self._height = height
        self._width = width
        label = prior.embed_labels(labels)
        self._labels = [block.label(label) for block in prior.blocks]
        self._coarser = None if prior.coarser is None or coarser is None else prior.coarser.encode(coarser)
        self._codes = Ring(prior.slots, height + 2 * prior.half, label)
        self._features = [Ring(prior.slots, height + 2 * prior.half, label) for _ in prior.blocks]

    @property
    def times(self) -> Iterator[int]:
        """The times that have positions. In a grid narrower than the slope some have none."""
        last = self._width - 1 + self._prior.slope * (self._height - 1)
        return (time for time in range(last + 1) if self.rows(time))

    def rows(self, time: int) -> range:
        """Returns the rows of a time's positions, each in column `time - slope * row`."""
        slope = self._prior.slope
        # The column is at least 0 and at most width - 1. The negation rounds up.
        return range(max(0, -((self._width - 1 - time) // slope)), min(self._height - 1, time // slope) + 1)

    def places(self, time: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns rows and columns of a time's positions, `(m,)` each, from the top row down."""
        rows = np.arange(self.rows(time).start, self.rows(time).stop)
        return rows, time - self._prior.slope * rows

    def logits(self, time: int) -> Float64[Tensor, "m b k"]:
        """Computes the logits of a time. The codes of all earlier times have been appended, each once."""
        prior = self._prior
        rows = self.rows(time)
        features = prior.first(self._codes, time, rows.start, len(rows)).add_(prior.first_bias)
        condition = None
        if prior.coarser is not None and self._coarser is not None:
            condition = prior.coarser.at(self._coarser, *self.places(time))
        for block, ring, label in zip(prior.blocks, self._features, self._labels, strict=True):
            ring.store(time, rows.start + prior.half, block.norm(features))
            convolved = block.convolution(ring, time, rows.start, len(rows)).add_(label)
            if condition is not None and block.condition is not None:
                convolved.add_(block.condition(condition))
            features = block.add_to(features, convolved)
        return prior.to_logits(features)

    def frequencies(self, time: int) -> NDArray[np.int64]:
        """Computes the frequencies of a time, `(m, b, k)`, under the condition of `logits`."""
        return frequencies_of_logits(self.logits(time))

    def append(self, time: int, codes: NDArray[np.int64]) -> None:
        """Keeps the codes of a time, `(m, b)`, for the times that follow."""
        embedding = self._prior.embedding
        embedded = embedding[torch.from_numpy(codes).to(embedding.device)]
        self._codes.store(time, self.rows(time).start + self._prior.half, embedded)
