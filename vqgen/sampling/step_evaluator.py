"""Evaluates a PixelCNN at the positions of one step, from what it keeps of earlier steps.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `k` codebook entries, `near`, `far` taps (see `step_tables`).
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.gated_block import GatedBlock
from vqgen.sampling.kept_layers import KeptAttention, KeptBlock, KeptConvolution, Output
from vqgen.sampling.step_tables import StepTables


class StepEvaluator:
    """The prior as a machine that goes forward in order time.

        label, coarser codes, positions, far taps --> known ahead, once per span
                                                          |
        codes of earlier steps --> embedded --+-- first --+--> blocks, attentions --> output --> logits
                  near rows of the tables     |                 ^ features of earlier steps, kept by each layer
        put(codes of this step) --------------+                 +---+

    Each layer computes the step's own positions and nothing else. What a convolution reads is kept in a padded grid,
    channels last, and gathered by index tables; keys and values are kept in order time, where the visible ones are a
    prefix. What is old enough to be known for several steps, a span, is added up for all of them at once: in raster
    order the rows above. All memory is taken when the evaluator is made.

    Args:
        prior: The model, in evaluation mode; its weights are used as they are now.
        labels: As in `PixelCNN.forward`.
        condition: As in `PixelCNN.forward`.
        dtype: Number format of weights and of what is kept; sums over layers and logits have that of the prior.

    Source: caching of convolutions as in Fast PixelCNN++ (Ramachandran et al. 2017, arXiv 1704.06001), for any causal
    order; caching of keys and values as in Transformers. Spans are ours.
    """

    def __init__(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        dtype: torch.dtype | None = None,
    ) -> None:
        weight = prior.embedding.weight
        self.prior, dtype = prior, dtype or weight.dtype
        self.batch_size, self._offsets = len(labels), prior.order.offsets.tolist()
        self._tables = tables = StepTables.build(prior.order, prior.config.kernel_size, len(labels), weight.device)
        self._embedding = weight.to(dtype)
        self._context = _Context(prior, labels, condition, tables.widest_span, dtype)
        self._first = KeptConvolution(prior.first, tables, tables.strict, dtype)
        self._blocks = [KeptBlock(block, tables, dtype) for block in _gated_blocks(prior)]
        self._attentions = {
            int(index): KeptAttention(attention, len(labels), prior.order.num_positions, dtype)
            for index, attention in prior.attentions.items()
            if isinstance(attention, CausalAttention)
        }
        self._output = Output(prior.output, dtype)
        self._span_begin, self._known_first, self._known = 0, weight, [weight]

    @property
    def num_steps(self) -> int:
        """Steps of the order."""
        return len(self._offsets) - 1

    def logits(self, step: int) -> Float[Tensor, "m b k"]:
        """Computes the logits at the positions of a step; steps follow each other, each once.

        Args:
            step: In [0, num_steps); the codes of all steps before it have been put.
        """
        if step % self._tables.span == 0:
            self._look_ahead(step)
        begin, end, tables = self._offsets[step], self._offsets[step + 1], self._tables
        write, near = tables.between(tables.write, begin, end), tables.between(tables.open.near_rows, begin, end)
        here = slice((begin - self._span_begin) * self.batch_size, (end - self._span_begin) * self.batch_size)
        features = self._first.add_near(tables.between(tables.strict.near_rows, begin, end), self._known_first[here])
        features = features.to(self.prior.embedding.weight.dtype)
        for index, block in enumerate(self._blocks):
            features = block.add_to(features, write, near, self._known[index][here])
            if index in self._attentions:
                features = self._attentions[index].add_to(features, begin, end)
        return self._output(features).unflatten(0, (end - begin, self.batch_size))

    def put(self, step: int, codes: Int[Tensor, "m b"]) -> None:
        """Keeps the codes of a step for those that follow."""
        write = self._tables.between(self._tables.write, self._offsets[step], self._offsets[step + 1])
        self._first.keep(write, F.embedding(codes.flatten(), self._embedding))

    def _look_ahead(self, step: int) -> None:
        """Adds up what is known for a span that begins with this step: the context, and what far taps read."""
        begin, end = self._offsets[step], self._offsets[min(step + self._tables.span, self.num_steps)]
        strict, later = (
            self._tables.between(taps.far_rows, begin, end) for taps in (self._tables.strict, self._tables.open)
        )
        first = self._context.positions[begin:end].repeat_interleave(self.batch_size, dim=0)
        self._span_begin, self._known_first = begin, self._first.add_far(strict, first)
        self._known = [
            block.convolution.add_far(later, context)
            for block, context in zip(self._blocks, self._context.of_blocks(begin, end), strict=True)
        ]


class _Context:
    """What positions, label and coarser codes give to the layers, with the convolutions' biases.

    Attributes:
        positions: `(n, c)` in order time, for the first convolution.
    """

    def __init__(
        self, prior: PixelCNN, labels: Tensor, condition: Tensor | None, most_positions: int, dtype: torch.dtype
    ) -> None:
        blocks, label = _gated_blocks(prior), prior.embed_labels(labels, len(labels))
        each = torch.stack([block.label(label) + block.convolution.bias for block in blocks]).to(dtype)
        self.batch_size = len(labels)
        self.labels = each.repeat(1, most_positions, 1)  # a step of fewer positions takes the first rows
        self.matrices: Tensor | None = None
        if condition is not None:
            self.matrices = torch.stack([block.condition.weight.T for block in blocks if block.condition]).to(dtype)
            self.condition = _in_order_time(prior, rearrange(condition, "b c h w -> (h w) b c")).to(dtype)
        positions = (prior.rows + prior.columns).flatten(0, 1) + prior.first.bias
        self.positions = _in_order_time(prior, positions).to(dtype)

    def of_blocks(self, begin: int, end: int) -> Float[Tensor, "layers r inner"]:
        """What each block adds to its convolution at positions `begin` to `end`."""
        labels = self.labels[:, : (end - begin) * self.batch_size]
        if self.matrices is None:
            return labels
        condition = self.condition[begin:end].flatten(0, 1)
        return torch.baddbmm(labels, condition.expand(len(labels), -1, -1), self.matrices)


def _gated_blocks(prior: PixelCNN) -> list[GatedBlock]:
    return [block for block in prior.blocks if isinstance(block, GatedBlock)]


def _in_order_time(prior: PixelCNN, positions: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Sorts positions that are in row-major order by their time."""
    return positions[torch.from_numpy(prior.order.positions).to(positions.device)]
