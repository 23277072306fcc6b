"""Evaluates a PixelCNN at the positions of one step, from what it keeps of earlier steps.

Legend: `m` positions of a step, `b` images, `r = m * b` rows (all images of the first position first), `c` channels,
`n` positions in order time, `k` codebook entries, `near`, `far` taps (see `step_tables`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.cached_network import CachedNetwork, Conditioning
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
    order the rows above. What is kept is allocated when the evaluator is made; what is known ahead, span by span.

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
        self.batch_size, self._offsets = len(labels), prior.order.offsets.tolist()
        self._tables = StepTables.build(prior.order, prior.config.kernel_size, len(labels), weight.device)
        self._network = CachedNetwork(prior, self._tables, dtype or weight.dtype)
        self._conditioning = Conditioning(prior, labels, condition, self._tables.widest_span, self._network.dtype)
        self._span_begin = 0
        self._known: list[Tensor] = []

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
        """Keeps the codes of a step for those that follow."""
        write = self._tables.between(self._tables.write, self._offsets[step], self._offsets[step + 1])
        self._network.append(write, codes.flatten())

    def _look_ahead(self, step: int) -> None:
        """Adds up what is known for a span that begins with this step: the conditioning, and what far taps read."""
        tables, network = self._tables, self._network
        begin, end = self._offsets[step], self._offsets[min(step + tables.span, self.num_steps)]
        strict, later = (tables.between(taps.far_rows, begin, end) for taps in (tables.strict, tables.open))
        where = slice(begin, end)
        self._span_begin = begin
        self._known = [network.first.add_far(strict, self._conditioning.of_first(where))]
        for block, conditioning in zip(network.blocks, self._conditioning.of_blocks(where), strict=True):
            self._known.append(block.convolution.add_far(later, conditioning))
