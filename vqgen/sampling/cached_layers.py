"""The layers of a PixelCNN for the positions of one step, with what each keeps of earlier steps.

Legend: `b` images, `r` rows (positions of a step times images, all images of the first position first), `c` channels,
`n` positions in order time, `near`, `far` taps (see `step_tables`).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.gated_block import GatedBlock, PointwiseBlock
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.sampling.row_product import RowProduct
from vqgen.sampling.step_tables import StepTables, TapTable


class Linear:
    """A linear map in a number format of its own; a plain function call, which a small step is long enough to notice.

    Args:
        linear: The layer; its weights are used as they are now.
        dtype: Number format.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r out"]:
        """Maps each row."""
        return F.linear(features, self.weight, self.bias)


class Norm:
    """A norm over the channels in the format of its input, whose result has a format of its own."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.shape, self.weight, self.bias, self.eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
        self.dtype = dtype

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r c"]:
        """Normalises each row."""
        return F.layer_norm(features, self.shape, self.weight, self.bias, self.eps).to(self.dtype)


class CachedConvolution:
    """A masked convolution without its bias, as products of gathered rows, and the features that it has read.

    Args:
        convolution: The layer.
        tables: Rows of the order.
        taps: Which of them this layer reads.
        dtype: Number format of the weights and of what is kept.
    """

    def __init__(self, convolution: MaskedConv2d, tables: StepTables, taps: TapTable, dtype: torch.dtype) -> None:
        weight = convolution.weight.detach().to(dtype).transpose(1, 2)
        self.features = weight.new_zeros(tables.num_cells * tables.batch_size, weight.shape[2])
        near = weight[:, taps.near] if taps.far else weight
        self.near = RowProduct(near.flatten(1), tables.widest * tables.batch_size)
        self.far = RowProduct(weight[:, taps.far].flatten(1), tables.widest_span * tables.batch_size)

    def keep(self, rows: Int[Tensor, " r"], features: Float[Tensor, "r c"]) -> None:
        """Keeps the features of new positions."""
        self.features.index_copy_(0, rows, features)

    def add_near(self, rows: Int[Tensor, " r*near"], known: Float[Tensor, "r out"]) -> Float[Tensor, "r out"]:
        """Completes the sum of a step: adds the maps of the rows that near taps read to what is known already."""
        return self.near(F.embedding(rows, self.features).view(-1, self.near.in_channels), known)

    def add_far(self, rows: Int[Tensor, " r*far"], known: Float[Tensor, "r out"]) -> Float[Tensor, "r out"]:
        """Adds the maps of the rows that far taps read, for all steps of a span."""
        if len(rows) == 0:
            return known
        return self.far(F.embedding(rows, self.features).view(-1, self.far.in_channels), known)


class CachedBlock:
    """A gated block; label, condition and the convolution's bias come with what is known ahead."""

    def __init__(self, block: GatedBlock, tables: StepTables, dtype: torch.dtype) -> None:
        self.norm = Norm(block.norm, dtype)
        self.convolution = CachedConvolution(block.convolution, tables, tables.open, dtype)
        self.project = Linear(block.project, dtype)

    def add_to(self, features: Float[Tensor, "r c"], write: Tensor, near: Tensor, known: Tensor) -> Tensor:
        """Adds what the gate lets through, in place."""
        self.convolution.keep(write, self.norm(features))
        values, gates = self.convolution.add_near(near, known).chunk(2, dim=-1)
        return features.add_(self.project(values.tanh().mul_(gates.sigmoid())))


class CachedAttention:
    """A causal attention, and the keys and values of the positions so far, `(b, heads, n, d)` in order time."""

    def __init__(self, attention: CausalAttention, batch_size: int, num_positions: int, dtype: torch.dtype) -> None:
        self.norm = Norm(attention.norm, dtype)
        self.queries_keys_values = Linear(attention.queries_keys_values, dtype)
        self.project = Linear(attention.project, dtype)
        size = attention.project.in_features // attention.heads
        shape = (batch_size, attention.heads, num_positions, size)
        self.keys, self.values = (attention.project.weight.new_zeros(shape, dtype=dtype) for _ in range(2))

    def add_to(self, features: Float[Tensor, "r c"], begin: int, end: int) -> Float[Tensor, "r c"]:
        """Adds what positions `begin` to `end` attend to, everything before `end`, in place."""
        queries, keys, values = self._split(features)
        self.keys[:, :, begin:end], self.values[:, :, begin:end] = keys, values
        attended = F.scaled_dot_product_attention(queries, self.keys[:, :, :end], self.values[:, :, :end])
        return features.add_(self._merge(attended))

    def add_visible(
        self, features: Float[Tensor, "r c"], places: Int[Tensor, " m"], visible: Bool[Tensor, " n"]
    ) -> Float[Tensor, "r c"]:
        """Adds the same, in place, with places and what is visible on the device: nothing depends on their values."""
        queries, keys, values = self._split(features)
        self.keys.index_copy_(2, places, keys)
        self.values.index_copy_(2, places, values)
        attended = F.scaled_dot_product_attention(queries, self.keys, self.values, attn_mask=visible[None])
        return features.add_(self._merge(attended))

    def _split(self, features: Float[Tensor, "r c"]) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of each row, each `(b, heads, m, d)`."""
        projected = self.queries_keys_values(self.norm(features))
        queries, keys, values = projected.view(-1, len(self.keys), 3, self.keys.shape[1], self.keys.shape[3]).permute(
            2, 1, 3, 0, 4
        )
        return queries, keys, values

    def _merge(self, attended: Float[Tensor, "b heads m d"]) -> Float[Tensor, "r c"]:
        return self.project(attended.permute(2, 0, 1, 3).flatten(2).flatten(0, 1))


class Output:
    """The output stack, which keeps nothing."""

    def __init__(self, output: nn.Sequential, dtype: torch.dtype) -> None:
        *blocks, norm, logits = output
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(logits, nn.Linear)
        self.blocks = [
            (Norm(block.norm, dtype), Linear(block.expand, dtype), Linear(block.project, dtype))
            for block in blocks
            if isinstance(block, PointwiseBlock)
        ]
        self.norm, self.logits = Norm(norm, dtype), Linear(logits, dtype)

    def __call__(self, features: Float[Tensor, "r c"]) -> Float[Tensor, "r k"]:
        """Computes logits, in the format of the features, which it changes."""
        for norm, expand, project in self.blocks:
            features.add_(project(F.gelu(expand(norm(features)))))
        return self.logits(self.norm(features)).to(features.dtype)
