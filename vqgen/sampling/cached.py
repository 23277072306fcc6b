"""The cached sampler: each step computes only the step's own positions, in every layer.

Legend: `b` images, `k` codebook entries, `h w` grid, `m` positions of a step, `n` all positions.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.guidance import Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import LevelSample, autocast_dtype, choose, evaluation, to_grid
from vqgen.sampling.step_evaluator import StepEvaluator


class CachedSampler:
    """Samples a level with cached features of earlier steps. The codes are those of `PlainSampler`, up to rounding."""

    holds_memory = False

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        params: LevelParams,
        guide: Guide | None = None,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes). See `Sampler.sample`."""
        order = prior.order
        device = prior.embedding.weight.device
        # Made outside inference mode: a model can then be trained on the codes.
        in_order_time = torch.empty(len(noise), order.num_positions, dtype=torch.int64, device=device)
        log_likelihood = torch.zeros(len(noise), dtype=torch.float64, device=device)
        # The evaluators convert their weights once. Autocast would convert them at every step.
        dtype = autocast_dtype(device)
        passes = forward_passes(prior, labels, condition, params, guide)
        level_noise = noise.of_level(order.num_positions, prior.config.codebook_size)
        with (
            evaluation(*(each.prior for each in passes)),
            torch.inference_mode(),
            torch.autocast(device.type, enabled=False),
        ):
            evaluators = [StepEvaluator(each.prior, each.labels, each.condition, dtype) for each in passes]
            for step, (begin, end) in enumerate(pairwise(order.offsets.tolist())):
                # One tensor (b, m, k) for each copy of the images, in the order that `guided_logits` takes.
                logits = [
                    part
                    for evaluator, each in zip(evaluators, passes, strict=True)
                    for part in evaluator.logits(step).transpose(0, 1).chunk(each.copies)
                ]
                gumbel = level_noise.gumbel(end - begin)
                codes, log_probabilities = choose(logits, gumbel, params)
                # All networks continue from the chosen codes, with and without the label.
                for evaluator, each in zip(evaluators, passes, strict=True):
                    evaluator.append(step, codes.T.repeat(1, each.copies))
                in_order_time[:, begin:end] = codes
                log_likelihood += log_probabilities.sum(dim=1)
        return LevelSample(to_grid(prior, in_order_time), log_likelihood)
