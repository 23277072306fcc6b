"""The layers of a PixelCNN at the positions of one step. Each layer caches its features of earlier steps.

Legend: `b` images, `m` positions of a step, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `near`, `far` taps (see `step_tables`), `out` channels out, `k` codebook entries.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.gated_block import GatedBlock, PointwiseBlock
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.sampling.row_product import RowProduct
from vqgen.sampling.step_tables import StepTables, TapTable


class Linear:
    """A linear map in its own dtype.

    A plain object, because the call of an `nn.Module` takes a noticeable share of a small step.

    Args:
        linear: The layer. Its weights should not change afterwards: they may be copied.
        dtype: The dtype of the weights and of the rows.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r out"]:
        """Maps each row."""
        return F.linear(features, self.weight, self.bias)


class Norm:
    """A norm over the channels. It computes in the dtype of its input and returns `dtype`."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.shape = norm.normalized_shape
        self.weight = norm.weight
        self.bias = norm.bias
        self.eps = norm.eps
        self.dtype = dtype

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r c"]:
        """Normalises each row."""
        return F.layer_norm(features, self.shape, self.weight, self.bias, self.eps).to(self.dtype)


def tap_weights(convolution: MaskedConv2d, dtype: torch.dtype) -> Float[Tensor, "out taps c"]:
    """Returns the weights in the order of a gathered row: all channels of the first tap, then of the second one."""
    return convolution.weight.detach().to(dtype).transpose(1, 2)


class FarTaps:
    """The input of a masked convolution, cached, and the products of its far taps.

    Args:
        weight: From `tap_weights`. It should not change afterwards: it may be copied.
        tables: The rows of the order.
        taps: The rows that this layer reads: `tables.strict` or `tables.open`.
    """

    def __init__(self, weight: Float[Tensor, "out taps c"], tables: StepTables, taps: TapTable) -> None:
        # Cells beyond the edge of the grid are never written. They stay zero: the padding of the convolution.
        self.features = weight.new_zeros(tables.num_cells * tables.batch_size, weight.shape[2])
        self.far = RowProduct(weight[:, taps.far].flatten(1), tables.widest_span * tables.batch_size)

    def add_far(self, rows: Int[Tensor, " far_reads"], known: Float[Tensor, "r out"]) -> Float[Tensor, "r out"]:
        """Adds the products of the far taps, for all steps of a span."""
        if len(rows) == 0:
            return known
        # `embedding` gathers whole rows, and it takes int32: the tables need half the memory.
        return self.far(F.embedding(rows, self.features).view(-1, self.far.in_channels), known)


class CachedConvolution(FarTaps):
    """A masked convolution without its bias, as matrix products of gathered rows, with a cache of its input.

    Args:
        convolution: The layer.
        tables: The rows of the order.
        taps: As in `FarTaps`.
        dtype: The dtype of the weights and of the cache.
    """

    def __init__(self, convolution: MaskedConv2d, tables: StepTables, taps: TapTable, dtype: torch.dtype) -> None:
        weight = tap_weights(convolution, dtype)
        super().__init__(weight, tables, taps)
        near = weight[:, taps.near] if taps.far else weight
        self.near = RowProduct(near.flatten(1), tables.widest * tables.batch_size)

    def store(self, rows: Int[Tensor, " r"], features: Float[Tensor, "r c"]) -> None:
        """Caches the features of new positions."""
        self.features.index_copy_(0, rows, features)

    def add_near(self, rows: Int[Tensor, " near_reads"], known: Float[Tensor, "r out"]) -> Float[Tensor, "r out"]:
        """Completes the sums of a step: adds the products of the near taps to the part that is known ahead."""
        return self.near(F.embedding(rows, self.features).view(-1, self.near.in_channels), known)


class CachedBlock:
    """A gated block. Label, condition and the bias of the convolution arrive in `known`, computed ahead."""

    def __init__(self, block: GatedBlock, tables: StepTables, dtype: torch.dtype) -> None:
        self.norm = Norm(block.norm, dtype)
        self.convolution = CachedConvolution(block.convolution, tables, tables.open, dtype)
        self.project = Linear(block.project, dtype)

    def add_to(
        self,
        features: Float[Tensor, "r c"],
        write: Int[Tensor, " r"],
        near: Int[Tensor, " near_reads"],
        known: Float[Tensor, "r out"],
    ) -> Float[Tensor, "r c"]:
        """Adds the gated features to `features`, in place."""
        # Stored first: an open convolution reads its own position too.
        self.convolution.store(write, self.norm(features))
        values, gates = self.convolution.add_near(near, known).chunk(2, dim=-1)
        # In place, here and in the other layers: nothing else refers to the features of a step.
        return features.add_(self.project(values.tanh().mul_(gates.sigmoid())))


class CachedAttention:
    """A causal attention with a cache of keys and values, `(b, heads, n, d)` in order time.

    In order time the visible positions are a prefix, so a step reads one slice and needs no mask.
    """

    def __init__(self, attention: CausalAttention, batch_size: int, num_positions: int, dtype: torch.dtype) -> None:
        self.norm = Norm(attention.norm, dtype)
        self.queries_keys_values = Linear(attention.queries_keys_values, dtype)
        self.project = Linear(attention.project, dtype)
        size = attention.project.in_features // attention.heads
        shape = (batch_size, attention.heads, num_positions, size)
        self.keys, self.values = (attention.project.weight.new_zeros(shape, dtype=dtype) for _ in range(2))

    def add_to(self, features: Float[Tensor, "r c"], begin: int, end: int) -> Float[Tensor, "r c"]:
        """Adds the attention of positions `begin` to `end` to all positions before `end`, in place."""
        queries, keys, values = self._split(features)
        self.keys[:, :, begin:end] = keys
        self.values[:, :, begin:end] = values
        attended = F.scaled_dot_product_attention(queries, self.keys[:, :, :end], self.values[:, :, :end])
        return features.add_(self._merge(attended))

    def _split(self, features: Float[Tensor, "r c"]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns query, key and value of each row, each `(b, heads, m, d)`."""
        batch_size, heads, _, size = self.keys.shape
        projected = self.queries_keys_values(self.norm(features))
        queries, keys, values = projected.view(-1, batch_size, 3, heads, size).permute(2, 1, 3, 0, 4)
        return queries, keys, values

    def _merge(self, attended: Float[Tensor, "b heads m d"]) -> Float[Tensor, "r c"]:
        return self.project(attended.permute(2, 0, 1, 3).flatten(2).flatten(0, 1))


class Output:
    """The output stack. It mixes no positions and so caches nothing."""

    def __init__(self, output: nn.Sequential, dtype: torch.dtype) -> None:
        *blocks, norm, logits = output
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(logits, nn.Linear)
        self.blocks = [
            (Norm(block.norm, dtype), Linear(block.expand, dtype), Linear(block.project, dtype))
            for block in blocks
            if isinstance(block, PointwiseBlock)
        ]
        self.norm = Norm(norm, dtype)
        self.logits = Linear(logits, dtype)

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r k"]:
        """Computes the logits in the dtype of `features`, and overwrites `features`."""
        for norm, expand, project in self.blocks:
            features.add_(project(F.gelu(expand(norm(features)))))
        return self.logits(self.norm(features)).to(features.dtype)
