"""The cached sampler: each step computes only the step's own positions, in every layer.

Legend: `b` images, `k` codebook entries, `h w` grid.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import Guide, forward_passes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.level_steps import LevelSteps
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import LevelSample, autocast_dtype, evaluation, to_grid


class CachedSampler:
    """Samples a level with cached features of earlier steps. The codes are those of `PlainSampler`, up to rounding.

    Args:
        fused: True to compute each gated block of a network as two Triton kernels, where a GPU can run them. Elsewhere
            it changes nothing. It is False until it has been measured on a GPU: see docs/speed.md.
    """

    holds_memory = False

    def __init__(self, *, fused: bool = False) -> None:
        self.fused = fused

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
        device = prior.embedding.weight.device
        # Made outside inference mode: a model can then be trained on the codes.
        in_order_time = torch.empty(len(noise), order.num_positions, dtype=torch.int64, device=device)
        log_likelihood = torch.empty(len(noise), dtype=torch.float64, device=device)
        # The evaluators convert their weights once. Autocast would convert them at every step.
        dtype = autocast_dtype(device)
        passes = forward_passes(prior, labels, condition, params, guide)
        level_noise = noise.of_level(order.num_positions, prior.config.codebook_size)
        with (
            # Triton starts its kernels on the current device, which may be another one.
            torch.cuda.device_of(prior.embedding.weight),
            evaluation(*(each.prior for each in passes)),
            torch.inference_mode(),
            torch.autocast(device.type, enabled=False),
        ):
            steps = LevelSteps(passes, params, dtype, fused=self.fused)
            its_given = None if given is None else given.in_order_time(order)
            steps.run(lambda begin, end: level_noise.gumbel(end - begin), in_order_time, log_likelihood, its_given)
        return LevelSample(to_grid(prior, in_order_time), log_likelihood)
