"""A PixelCNN as layers that keep what they have read, and what is known of a step before any code of it.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `k` codebook entries, `near`, `far` taps (see `step_tables`).
"""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.gated_block import GatedBlock
from vqgen.sampling.cached_layers import CachedAttention, CachedBlock, CachedConvolution, Output
from vqgen.sampling.step_tables import StepTables


class CachedNetwork:
    """All layers of a prior.

    Args:
        prior: The model, in evaluation mode; its weights are used as they are now.
        tables: Rows of its order.
        dtype: Number format of weights and of what is kept; sums over layers and logits have that of the prior.
    """

    def __init__(self, prior: PixelCNN, tables: StepTables, dtype: torch.dtype) -> None:
        self.dtype, self._dtype_of_sums = dtype, prior.embedding.weight.dtype
        self.embedding = prior.embedding.weight.detach().to(dtype)
        self.first = CachedConvolution(prior.first, tables, tables.strict, dtype)
        self.blocks = [CachedBlock(block, tables, dtype) for block in gated_blocks(prior)]
        self.attentions = {
            int(index): CachedAttention(attention, tables.batch_size, tables.num_positions, dtype)
            for index, attention in prior.attentions.items()
            if isinstance(attention, CausalAttention)
        }
        self.output = Output(prior.output, dtype)

    def logits(
        self,
        write: Int[Tensor, " r"],
        strict: Int[Tensor, " r*near"],
        near: Int[Tensor, " r*near"],
        known: Sequence[Float[Tensor, "r _"]],
        attend: Callable[[CachedAttention, Tensor], Tensor],
    ) -> Float[Tensor, "r k"]:
        """Computes the logits of a step.

        Args:
            write: Where the positions' own features are kept.
            strict: What the near taps of the first convolution read.
            near: What those of later ones read.
            known: What is known ahead for each convolution.
            attend: Adds to features what an attention gives.
        """
        first, *others = known
        features = self.first.add_near(strict, first).to(self._dtype_of_sums)
        for index, (block, known_here) in enumerate(zip(self.blocks, others, strict=True)):
            features = block.add_to(features, write, near, known_here)
            if index in self.attentions:
                features = attend(self.attentions[index], features)
        return self.output(features)

    def append(self, write: Int[Tensor, " r"], codes: Int[Tensor, " r"]) -> None:
        """Keeps the codes of a step."""
        self.first.keep(write, F.embedding(codes, self.embedding))


class Conditioning:
    """What positions, label and coarser codes give to the layers, with the convolutions' biases.

    Args:
        prior: The model.
        labels: As in `PixelCNN.forward`.
        condition: As in `PixelCNN.forward`.
        most_positions: The most positions that are asked for at once.
        dtype: Number format.
    """

    def __init__(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        most_positions: int,
        dtype: torch.dtype,
    ) -> None:
        blocks, label = gated_blocks(prior), prior.embed_labels(labels, len(labels))
        each = torch.stack([block.label(label) + block.convolution.bias for block in blocks]).to(dtype)
        self._batch_size = len(labels)
        self._labels = each.repeat(1, most_positions, 1)  # fewer positions take the first rows
        self._matrices: Tensor | None = None
        if condition is not None:
            self._matrices = torch.stack([block.condition.weight.T for block in blocks if block.condition]).to(dtype)
            self._condition = _in_order_time(prior, rearrange(condition, "b c h w -> (h w) b c")).to(dtype)
        positions = (prior.rows + prior.columns).flatten(0, 1) + prior.first.bias
        self._positions = _in_order_time(prior, positions).to(dtype)

    def of_first(self, where: slice | Int[Tensor, " m"]) -> Float[Tensor, "r c"]:
        """What the first convolution adds at some positions in order time."""
        return self._positions[where].repeat_interleave(self._batch_size, dim=0)

    def of_blocks(self, where: slice | Int[Tensor, " m"]) -> Float[Tensor, "layers r inner"]:
        """What each block adds to its convolution there."""
        num_positions = where.stop - where.start if isinstance(where, slice) else len(where)
        labels = self._labels[:, : num_positions * self._batch_size]
        if self._matrices is None:
            return labels
        condition = self._condition[where].flatten(0, 1)
        return torch.baddbmm(labels, condition.expand(len(labels), -1, -1), self._matrices)

    def copy_(self, other: "Conditioning") -> None:
        """Takes over the values of another one of the same model, batch size and number of positions."""
        self._labels.copy_(other._labels)
        if self._matrices is not None:
            self._condition.copy_(other._condition)


def gated_blocks(prior: PixelCNN) -> list[GatedBlock]:
    """The gated blocks, in order."""
    return [block for block in prior.blocks if isinstance(block, GatedBlock)]


def _in_order_time(prior: PixelCNN, positions: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Sorts positions that are in row-major order by their time."""
    return positions[torch.from_numpy(prior.order.positions).to(positions.device)]
