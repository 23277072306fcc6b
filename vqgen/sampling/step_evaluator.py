"""Evaluates a PixelCNN at the positions of one step, with cached features of earlier steps.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`h w` grid, `n` positions in order time, `k` codebook entries, `near`, `far` taps (see `step_tables`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.cached_network import CachedNetwork, Conditioning
from vqgen.sampling.step_tables import StepTables


class StepEvaluator:
    """A prior that moves forward in order time, one step after the other.

        label, coarser codes, positions, far taps --> known ahead, once per span
                                                          |
        codes of earlier steps --> embedded --+-- first --+--> blocks, attentions --> output --> logits
                  near rows of the tables     |                 ^ cached features of earlier steps
        append(codes of this step) -----------+                 +---+

    Each layer computes the step's own positions and nothing else. The input of a convolution is cached in a padded
    grid, channels last, and gathered by index tables. Keys and values are cached in order time, where the visible
    positions are a prefix. The part of a sum that is complete before a span begins is added up for all steps of the
    span together: in raster order the rows above. The caches are allocated once, the sums known ahead once per span.

    Args:
        prior: The model, in evaluation mode. Its weights should not change afterwards: some are copied.
        labels: As in `PixelCNN.forward`.
        condition: As in `PixelCNN.forward`.
        dtype: The dtype of weights and caches; None for the dtype of the prior. Sums over layers and logits have the
            dtype of the prior.
        fused: As in `CachedSampler`.

    Source: caching of convolutions as in Fast PixelCNN++ (Ramachandran et al. 2017, arXiv 1704.06001), for any causal
    order; caching of keys and values as in Transformers. Spans are ours.
    """

    def __init__(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        dtype: torch.dtype | None = None,
        *,
        fused: bool = False,
    ) -> None:
        weight = prior.embedding.weight
        self.batch_size = len(labels)
        self._offsets = prior.order.offsets.tolist()
        self._tables = StepTables.build(prior.order, prior.config.kernel_size, len(labels), weight.device)
        self._network = CachedNetwork(prior, self._tables, dtype or weight.dtype, fused=fused)
        self._conditioning = Conditioning(prior, labels, condition, self._tables.widest_span, self._network.dtype)
        self._span_begin = 0
        self._known: list[Tensor] = []

    def renew(self, prior: PixelCNN, labels: Int[Tensor, " b"], condition: Float[Tensor, "b c h w"] | None) -> None:
        """Takes the labels and coarser codes of another batch of the same size. The steps begin again.

        In place: a recorded CUDA graph reads these addresses. The caches keep the features of the last batch, and each
        feature is written again before any step reads it.

        Args:
            prior: The same model, with the same weights.
            labels: As in `PixelCNN.forward`.
            condition: As in `PixelCNN.forward`.
        """
        # It takes the model as an argument, so that an evaluator does not keep its model alive.
        self._conditioning.copy_(Conditioning(prior, labels, condition, self._tables.widest_span, self._network.dtype))

    @property
    def num_steps(self) -> int:
        """Steps of the order."""
        return len(self._offsets) - 1

    def logits(self, step: int) -> Float[Tensor, "m b k"]:
        """Computes the logits at the positions of a step. Steps follow each other, each once in a batch.

        Args:
            step: In [0, num_steps). The codes of all earlier steps have been appended.
        """
        if step % self._tables.span == 0:
            self._look_ahead(step)
        begin = self._offsets[step]
        end = self._offsets[step + 1]
        tables = self._tables
        # The sums known ahead cover the whole span; this step takes its own rows of them.
        here = slice((begin - self._span_begin) * self.batch_size, (end - self._span_begin) * self.batch_size)
        logits = self._network.logits(
            tables.between(tables.write, begin, end),
            tables.between(tables.strict.near_rows, begin, end),
            tables.between(tables.open.near_rows, begin, end),
            [known[here] for known in self._known],
            lambda attention, features: attention.add_to(features, begin, end),
        )
        return logits.unflatten(0, (end - begin, self.batch_size))

    def append(self, step: int, codes: Int[Tensor, "m b"]) -> None:
        """Caches the codes of a step for the steps that follow."""
        write = self._tables.between(self._tables.write, self._offsets[step], self._offsets[step + 1])
        self._network.append(write, codes.flatten())

    def _look_ahead(self, step: int) -> None:
        """Adds up the sums known ahead for the span that begins with this step: conditioning and far taps."""
        tables = self._tables
        network = self._network
        begin = self._offsets[step]
        end = self._offsets[min(step + tables.span, self.num_steps)]
        strict, later = (tables.between(taps.far_rows, begin, end) for taps in (tables.strict, tables.open))
        self._span_begin = begin
        # Far rows are complete now: every one of them is at least a span old at each step of the span.
        self._known = [network.first.add_far(strict, self._conditioning.of_first(begin, end))]
        for block, conditioning in zip(network.blocks, self._conditioning.of_blocks(begin, end), strict=True):
            self._known.append(block.convolution.add_far(later, conditioning))
