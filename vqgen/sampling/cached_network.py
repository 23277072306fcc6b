"""A PixelCNN made of caching layers, and its conditioning: the part of each sum that needs no code of the step.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `k` codebook entries, `near`, `far` taps (see `step_tables`), `inner` channels of a block's
convolution.
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
from vqgen.sampling.c_block import CBlock, can_use_c
from vqgen.sampling.cached_layers import CachedAttention, CachedBlock, CachedConvolution, Output
from vqgen.sampling.step_tables import StepTables
from vqgen.sampling.triton_block import TritonBlock, can_use_triton, triton_blocks


class CachedNetwork:
    """All layers of a prior.

    Args:
        prior: The model, in evaluation mode. Its weights should not change afterwards: some are copied.
        tables: The rows of its order.
        dtype: The dtype of weights and caches. Sums over layers and logits have the dtype of the prior.
        fused: As in `CachedSampler`.
    """

    def __init__(self, prior: PixelCNN, tables: StepTables, dtype: torch.dtype, *, fused: bool = False) -> None:
        self.dtype = dtype
        # As under autocast: the residual sum of many layers would lose its small terms in 16 bits.
        self._dtype_of_sums = prior.embedding.weight.dtype
        self.embedding = prior.embedding.weight.detach().to(dtype)
        self.first = CachedConvolution(prior.first, tables, tables.strict, dtype)
        self.attentions = {
            int(index): CachedAttention(attention, tables.batch_size, tables.num_positions, dtype)
            for index, attention in prior.attentions.items()
            if isinstance(attention, CausalAttention)
        }
        self.blocks = self._make_blocks(prior, tables, fused=fused)
        self.output = Output(prior.output, dtype)

    def _make_blocks(
        self, prior: PixelCNN, tables: StepTables, *, fused: bool
    ) -> Sequence[CachedBlock] | Sequence[CBlock] | Sequence[TritonBlock]:
        """Makes the gated blocks, in the fastest way that this machine has."""
        blocks = gated_blocks(prior)
        if can_use_c(prior, tables, self.dtype):
            return [CBlock(block, tables) for block in blocks]
        if fused and can_use_triton(self.embedding.device, self.dtype, prior.config.channels):
            return triton_blocks(blocks, self.attentions, tables, self.dtype)
        return [CachedBlock(block, tables, self.dtype) for block in blocks]

    def logits(
        self,
        write: Int[Tensor, " r"],
        strict: Int[Tensor, " strict_reads"],
        near: Int[Tensor, " near_reads"],
        known: Sequence[Float[Tensor, "r _"]],
        attend: Callable[[CachedAttention, Tensor], Tensor],
    ) -> Float[Tensor, "r k"]:
        """Computes the logits of a step.

        Args:
            write: The rows in which the layers store the features of these positions.
            strict: The rows that the near taps of the first convolution read.
            near: The rows that the near taps of later convolutions read.
            known: For each convolution, the part of its sum that is known ahead.
            attend: Adds the result of an attention to features.
        """
        first, *others = known
        # The first convolution is strict: it needs no code of this step, whose codes `append` stores afterwards.
        features = self.first.add_near(strict, first).to(self._dtype_of_sums)
        for index, (block, known_here) in enumerate(zip(self.blocks, others, strict=True)):
            features = block.add_to(features, write, near, known_here)
            if index in self.attentions:
                features = attend(self.attentions[index], features)
        return self.output(features)

    def append(self, write: Int[Tensor, " r"], codes: Int[Tensor, " r"]) -> None:
        """Caches the embedded codes of a step."""
        self.first.store(write, F.embedding(codes, self.embedding))


class Conditioning:
    """The contribution of positions, label and coarser codes to each convolution, with its bias.

    Args:
        prior: The model.
        labels: As in `PixelCNN.forward`.
        condition: As in `PixelCNN.forward`.
        most_positions: The largest number of positions in one call.
        dtype: The dtype of the result.
    """

    def __init__(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        most_positions: int,
        dtype: torch.dtype,
    ) -> None:
        blocks = gated_blocks(prior)
        label = prior.embed_labels(labels, len(labels))
        each = torch.stack([block.label(label) + block.convolution.bias for block in blocks]).to(dtype)
        self._batch_size = len(labels)
        # Repeated once here rather than at every step. A call with fewer positions takes the first rows.
        self._labels = each.repeat(1, most_positions, 1)
        self._matrices: Tensor | None = None
        if condition is not None:
            # Stacked, so that one batched product serves all layers.
            self._matrices = torch.stack([block.condition.weight.T for block in blocks if block.condition]).to(dtype)
            self._condition = _in_order_time(prior, rearrange(condition, "b c h w -> (h w) b c")).to(dtype)
        bias = prior.first.bias.expand(prior.order.num_positions, -1)
        positions = prior.embed_positions()
        each = bias if positions is None else positions.flatten(0, 1) + bias
        self._positions = _in_order_time(prior, each).to(dtype)

    def of_first(self, begin: int, end: int) -> Float[Tensor, "r c"]:
        """Returns the contribution to the first convolution at positions `begin` to `end` in order time."""
        return self._positions[begin:end, None].expand(-1, self._batch_size, -1).flatten(0, 1)

    def of_blocks(self, begin: int, end: int) -> Float[Tensor, "layers r inner"]:
        """Returns the contribution to the convolution of each block at these positions."""
        labels = self._labels[:, : (end - begin) * self._batch_size]
        if self._matrices is None:
            return labels
        condition = self._condition[begin:end].flatten(0, 1)
        return torch.baddbmm(labels, condition.expand(len(labels), -1, -1), self._matrices)

    def copy_(self, other: "Conditioning") -> None:
        """Copies the values of another conditioning of the same model, batch size and number of positions.

        In place: a recorded CUDA graph reads these addresses. Positions and matrices depend on the model alone.
        """
        self._labels.copy_(other._labels)
        if self._matrices is not None:
            self._condition.copy_(other._condition)


def gated_blocks(prior: PixelCNN) -> list[GatedBlock]:
    """Returns the gated blocks of a prior, in order."""
    return [block for block in prior.blocks if isinstance(block, GatedBlock)]


def _in_order_time(prior: PixelCNN, positions: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Sorts values of the positions by order time. They come in row-major order."""
    return positions[torch.from_numpy(prior.order.positions).to(positions.device)]
