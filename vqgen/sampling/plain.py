"""The plain sampler: a whole forward pass for each step. It is slow and simple; tests compare faster samplers with it.

Legend: `b` images, `k` codebook entries, `h w` grid, `m` positions of a step, `n` flattened positions.
"""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import LevelSample, choose, evaluation


class PlainSampler:
    """Samples a level with one evaluation of the whole grid for each step of the order."""

    holds_memory = False

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        params: LevelParams,
        guide: Guide | None = None,
        given: Given | None = None,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes). See `Sampler.sample`."""
        order = prior.order
        in_order_time = None if given is None else given.in_order_time(order)
        device = prior.embedding.weight.device
        # Zeros stand for codes that are not drawn yet. No logit of a step depends on them.
        codes = torch.zeros(len(noise), order.height, order.width, dtype=torch.int64, device=device)
        flat = codes.view(len(noise), -1)
        log_likelihood = torch.zeros(len(noise), dtype=torch.float64, device=device)
        passes = forward_passes(prior, labels, condition, params, guide)
        level_noise = noise.of_level(order.num_positions, prior.config.codebook_size)
        with evaluation(*(each.prior for each in passes)):
            for begin, end in pairwise(order.offsets.tolist()):
                step = torch.from_numpy(order.positions[begin:end]).to(device)
                logits: list[Tensor] = []
                for each in passes:
                    of_grid = each.prior(codes.repeat(each.copies, 1, 1), each.labels, each.condition)
                    logits += rearrange(of_grid, "b k h w -> b (h w) k")[:, step].chunk(each.copies)
                # Writes into `codes`: `flat` is a view of it.
                here = None if in_order_time is None else in_order_time.between(begin, end)
                flat[:, step], log_probabilities = choose(logits, level_noise.gumbel(end - begin), params, here)
                log_likelihood += log_probabilities.sum(dim=1)
        return LevelSample(codes, log_likelihood)
