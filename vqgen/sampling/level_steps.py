"""The loop over all steps of a level: evaluate, choose, append.

Legend: `b` images, `k` codebook entries, `m` positions of a step, `n` all positions, in order time.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from vqgen.sampling.given import Given
from vqgen.sampling.guidance import ForwardPass
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.sampler import choose
from vqgen.sampling.step_evaluator import StepEvaluator


class LevelSteps:
    """All steps of a level, for batches of one size.

    The loop takes nothing from the host and gives nothing to it: no copy, and no value that decides the next operation.
    So a CUDA graph can record it as a whole.

    Args:
        passes: The networks of each step, in evaluation mode. Their weights should not change afterwards.
        params: The parameters of the level.
        dtype: As in `StepEvaluator`.
        fused: As in `CachedSampler`.
    """

    def __init__(
        self,
        passes: Sequence[ForwardPass],
        params: LevelParams,
        dtype: torch.dtype | None,
        *,
        fused: bool = False,
    ) -> None:
        self._params = params
        self._copies = [each.copies for each in passes]
        self._evaluators = [
            StepEvaluator(each.prior, each.labels, each.condition, dtype, fused=fused) for each in passes
        ]
        self._bounds = list(pairwise(passes[0].prior.order.offsets.tolist()))

    def renew(self, passes: Sequence[ForwardPass]) -> None:
        """Takes the labels and coarser codes of another batch of the same size, for the same networks."""
        for evaluator, each in zip(self._evaluators, passes, strict=True):
            evaluator.renew(each.prior, each.labels, each.condition)

    def run(
        self,
        gumbel: Callable[[int, int], Float64[Tensor, "b m k"]],
        codes: Int[Tensor, "b n"],
        log_likelihood: Float64[Tensor, " b"],
        given: Given | None = None,
    ) -> None:
        """Samples a map.

        Args:
            gumbel: Returns the draws for positions `begin` to `end`. It is called once for each step, in order.
            codes: The codes are written here, in order time.
            log_likelihood: Their log likelihood in nats is written here.
            given: Codes that stay, in order time; None draws all codes.
        """
        log_likelihood.zero_()
        for step, (begin, end) in enumerate(self._bounds):
            # One tensor (b, m, k) for each copy of the images, in the order that `guided_logits` takes.
            logits = [
                part
                for evaluator, copies in zip(self._evaluators, self._copies, strict=True)
                for part in evaluator.logits(step).transpose(0, 1).chunk(copies)
            ]
            here = None if given is None else given.between(begin, end)
            chosen, log_probabilities = choose(logits, gumbel(begin, end), self._params, here)
            # All networks continue from the chosen codes, with and without the label.
            for evaluator, copies in zip(self._evaluators, self._copies, strict=True):
                evaluator.append(step, chosen.T.repeat(1, copies))
            codes[:, begin:end] = chosen
            log_likelihood += log_probabilities.sum(dim=1)
