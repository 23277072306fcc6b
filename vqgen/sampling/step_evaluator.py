"""Evaluates a PixelCNN at the positions of one step, from what it keeps of earlier steps.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `k` codebook entries, `taps` open taps.
"""

import copy
from typing import TypeVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.gated_block import GatedBlock
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.sampling.step_tables import StepTables

Module = TypeVar("Module", bound=nn.Module)


class StepEvaluator:
    """The prior as a machine that goes forward in order time.

        codes of earlier steps --> embedded --+-- first --> + positions --> blocks, attentions --> output --> logits
                     rows of the tables       |                |   ^ features of earlier steps, kept by each layer
        put(codes of this step) --------------+                +---+

    Each layer computes the step's own positions and nothing else. What a convolution reads is kept in a padded grid,
    channels last, and gathered by index tables; keys and values are kept in order time, where the visible ones are a
    prefix. All memory is taken when the evaluator is made.

    Args:
        prior: The model, in evaluation mode; its weights are copied as they are now.
        labels: As in `PixelCNN.forward`.
        condition: As in `PixelCNN.forward`.
        dtype: Number format of weights and of what is kept; sums over layers and logits have that of the prior.

    Source: caching of convolutions as in Fast PixelCNN++ (Ramachandran et al. 2017, arXiv 1704.06001), for any causal
    order; caching of keys and values as in Transformers.
    """

    def __init__(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        dtype: torch.dtype | None = None,
    ) -> None:
        weight = prior.embedding.weight
        self.prior, self.dtype = prior, dtype or weight.dtype
        self.batch_size, self._offsets = len(labels), prior.order.offsets.tolist()
        self._tables = StepTables.build(prior.order, prior.config.kernel_size, len(labels), weight.device)
        rows = self._tables.num_cells * len(labels)
        self._first = _KeptConvolution(prior.first, rows, self.dtype)
        self._embedding = weight.to(self.dtype)
        self._context = _StepContext(prior, labels, condition, self.dtype)
        self._positions = _in_order_time(prior, (prior.rows + prior.columns).flatten(0, 1))
        self._blocks = [_KeptBlock(block, rows, self.dtype) for block in prior.blocks if isinstance(block, GatedBlock)]
        self._attentions = {
            int(index): _KeptAttention(attention, len(labels), prior.order.num_positions, self.dtype)
            for index, attention in prior.attentions.items()
            if isinstance(attention, CausalAttention)
        }
        self._output = _in_dtype(prior.output, self.dtype)

    @property
    def num_steps(self) -> int:
        """Steps of the order."""
        return len(self._offsets) - 1

    def logits(self, step: int) -> Float[Tensor, "m b k"]:
        """Computes the logits at the positions of a step; steps follow each other, each once.

        Args:
            step: In [0, num_steps); the codes of all steps before it have been put.
        """
        begin, end, tables = self._offsets[step], self._offsets[step + 1], self._tables
        write, read = tables.between(tables.write, begin, end), tables.between(tables.open, begin, end)
        context = self._context.rows(begin, end)
        features = self._read_codes(begin, end)
        for index, block in enumerate(self._blocks):
            features = block.add_to(features, write, read, context[index])
            if index in self._attentions:
                features = self._attentions[index].add_to(features, begin, end)
        return self._output(features.to(self.dtype)).to(features.dtype).unflatten(0, (end - begin, self.batch_size))

    def put(self, step: int, codes: Int[Tensor, "m b"]) -> None:
        """Keeps the codes of a step for those that follow."""
        write = self._tables.between(self._tables.write, self._offsets[step], self._offsets[step + 1])
        self._first.keep(write, F.embedding(codes.flatten(), self._embedding))

    def _read_codes(self, begin: int, end: int) -> Float[Tensor, "r c"]:
        """The strict convolution of the codes put so far, and the positions' own vectors."""
        convolved = self._first(self._tables.between(self._tables.strict, begin, end), self._first.bias)
        positions = self._positions[begin:end, None]
        return (convolved.to(positions.dtype).unflatten(0, (end - begin, self.batch_size)) + positions).flatten(0, 1)


class _KeptConvolution:
    """A masked convolution as one matrix, and the features that it has read."""

    def __init__(self, convolution: MaskedConv2d, rows: int, dtype: torch.dtype) -> None:
        weight = convolution.weight.to(dtype)
        self.channels = weight.shape[1]
        self.matrix = weight.transpose(1, 2).flatten(1)  # (out, taps * c): rows are dot products, which suits few rows
        self.bias = convolution.bias.to(dtype)
        self.features = weight.new_zeros(rows, self.channels)

    def keep(self, rows: Int[Tensor, " r"], features: Float[Tensor, "r c"]) -> None:
        """Keeps the features of new positions."""
        self.features.index_copy_(0, rows, features)

    def __call__(self, rows: Int[Tensor, " r*taps"], added: Tensor) -> Float[Tensor, "r out"]:
        """Sums the maps of the rows that the taps read, and adds `added`."""
        read = self.features.index_select(0, rows).view(-1, self.matrix.shape[1])
        return torch.addmm(added, read, self.matrix.T)


class _KeptBlock:
    """A gated block; its context comes from `_StepContext`, with the convolution's bias."""

    def __init__(self, block: GatedBlock, rows: int, dtype: torch.dtype) -> None:
        self.norm = block.norm
        self.convolution = _KeptConvolution(block.convolution, rows, dtype)
        self.project = _in_dtype(block.project, dtype)

    def add_to(self, features: Float[Tensor, "r c"], write: Tensor, read: Tensor, context: Tensor) -> Tensor:
        """Adds what the gate lets through, in place."""
        self.convolution.keep(write, self.norm(features).to(context.dtype))
        values, gates = self.convolution(read, context).chunk(2, dim=-1)
        return features.add_(self.project(values.tanh().mul_(gates.sigmoid())))


class _KeptAttention:
    """A causal attention, and the keys and values of the positions so far, `(b, heads, n, d)` in order time."""

    def __init__(self, attention: CausalAttention, batch_size: int, num_positions: int, dtype: torch.dtype) -> None:
        self.norm = attention.norm
        self.queries_keys_values = _in_dtype(attention.queries_keys_values, dtype)
        self.project = _in_dtype(attention.project, dtype)
        size = attention.project.in_features // attention.heads
        shape = (batch_size, attention.heads, num_positions, size)
        self.keys, self.values = (attention.project.weight.new_zeros(shape, dtype=dtype) for _ in range(2))

    def add_to(self, features: Float[Tensor, "r c"], begin: int, end: int) -> Float[Tensor, "r c"]:
        """Adds what positions `begin` to `end` attend to, everything before `end`, in place."""
        normed = self.norm(features).to(self.keys.dtype)
        projected = self.queries_keys_values(normed).view(end - begin, len(self.keys), 3, self.keys.shape[1], -1)
        queries, keys, values = projected.permute(2, 1, 3, 0, 4)
        self.keys[:, :, begin:end], self.values[:, :, begin:end] = keys, values
        attended = F.scaled_dot_product_attention(queries, self.keys[:, :, :end], self.values[:, :, :end])
        return features.add_(self.project(attended.permute(2, 0, 1, 3).flatten(2).flatten(0, 1)))


class _StepContext:
    """What label and coarser codes give to every block, with the convolutions' biases."""

    def __init__(self, prior: PixelCNN, labels: Tensor, condition: Tensor | None, dtype: torch.dtype) -> None:
        blocks = [block for block in prior.blocks if isinstance(block, GatedBlock)]
        label = prior.embed_labels(labels, len(labels))
        each = torch.stack([block.label(label) + block.convolution.bias for block in blocks], dim=1).to(dtype)
        self.num_blocks = len(blocks)
        self.matrix: Tensor | None = None
        if condition is not None:
            self.matrix = torch.cat([block.condition.weight for block in blocks if block.condition]).T.to(dtype)
            self.condition = _in_order_time(prior, rearrange(condition, "b c h w -> (h w) b c")).to(dtype)
        self.widest = int(np.diff(prior.order.offsets).max())
        self.labels = each.flatten(1).repeat(self.widest, 1)  # for the widest step: a narrower one takes the first rows

    def rows(self, begin: int, end: int) -> tuple[Tensor, ...]:
        """For each block its `(r, 2 c)`."""
        size = (end - begin) * (len(self.labels) // self.widest)
        rows = self.labels[:size]
        if self.matrix is not None:
            rows = torch.addmm(rows, self.condition[begin:end].flatten(0, 1), self.matrix)
        return rows.chunk(self.num_blocks, dim=1)


def _in_order_time(prior: PixelCNN, positions: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Sorts positions that are in row-major order by their time."""
    return positions[torch.from_numpy(prior.order.positions).to(positions.device)]


def _in_dtype(module: Module, dtype: torch.dtype) -> Module:
    """The module itself where its weights have this format already, else a copy that has."""
    return module if next(module.parameters()).dtype == dtype else copy.deepcopy(module).to(dtype)
