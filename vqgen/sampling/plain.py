"""The plain sampler: a whole forward pass per step. Slow and simple; faster samplers are checked against it.

Legend: `b` images, `k` codebook entries, `h w` grid, `n` flattened positions, `positions` those of one step.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.filters import Filters
from vqgen.sampling.guidance import beside_null
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import LevelSample, choose, evaluation


class PlainSampler:
    """Samples a level by evaluating the whole grid once per step of the order."""

    keeps_levels = False

    def sample(
        self,
        prior: PixelCNN,
        labels: Int[Tensor, " b"],
        condition: Float[Tensor, "b c h w"] | None,
        noise: ImageNoise,
        filters: Filters,
    ) -> LevelSample:
        """Draws codes from p(codes | label, coarser codes); see `Sampler.sample`."""
        order, device = prior.order, prior.embedding.weight.device
        codes = torch.zeros(len(noise), order.height, order.width, dtype=torch.int64, device=device)
        flat = codes.view(len(noise), -1)
        log_likelihood = torch.zeros(len(noise), dtype=torch.float64, device=device)
        if filters.is_guided:
            labels, condition = beside_null(prior, labels, condition)
        copies = len(labels) // len(noise)
        level_noise = noise.of_level(order.num_positions, prior.config.codebook_size)
        with evaluation(prior):
            for positions in order.steps():
                step = torch.from_numpy(positions).to(device)
                all_logits = prior(codes.repeat(copies, 1, 1), labels, condition)
                logits, *null_logits = rearrange(all_logits, "b k h w -> b (h w) k")[:, step].chunk(copies)
                flat[:, step], log_probabilities = choose(
                    logits, level_noise.gumbel(len(positions)), filters, *null_logits
                )
                log_likelihood += log_probabilities.sum(dim=1)
        return LevelSample(codes, log_likelihood)
