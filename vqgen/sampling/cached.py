"""The cached sampler: each step computes only the step's own positions, in every layer.

Legend: `b` images, `k` codebook entries, `h w` grid, `m` positions of a step, `n` all positions.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.sampling.filters import Filters
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import LevelSample, choose, evaluation
from vqgen.sampling.step_evaluator import StepEvaluator
from vqgen.sampling.step_tables import open_taps, padded_cells


class CachedSampler:
    """Samples a level from what it keeps of earlier steps: the codes of `PlainSampler`, but for rounding."""

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
        in_order_time = torch.empty(len(noise), order.num_positions, dtype=torch.int64, device=device)
        log_likelihood = torch.zeros(len(noise), dtype=torch.float64, device=device)
        dtype = _autocast_dtype(device)
        with evaluation(prior), torch.autocast(device.type, enabled=False):
            evaluator = StepEvaluator(prior, labels, condition, dtype)
            for step, (begin, end) in enumerate(zip(order.offsets[:-1], order.offsets[1:], strict=True)):
                logits = evaluator.logits(step).transpose(0, 1)
                gumbel = noise.gumbel(int(end - begin), prior.config.codebook_size)
                codes, log_probability = choose(logits, gumbel, filters)
                evaluator.put(step, codes.T)
                in_order_time[:, begin:end] = codes
                log_likelihood += log_probability
        codes = torch.empty_like(in_order_time)
        codes[:, torch.from_numpy(order.positions).to(device)] = in_order_time
        return LevelSample(codes.unflatten(1, (order.height, order.width)), log_likelihood)

    def bytes_per_image(self, config: PixelCNNConfig, element_size: int = 4) -> int:
        """Memory that sampling takes for each image of a batch, beside the weights.

        Args:
            config: The prior.
            element_size: Bytes of a number: 4 for float32.
        """
        return bytes_per_image(config, element_size)


def bytes_per_image(config: PixelCNNConfig, element_size: int = 4) -> int:
    """Memory that cached sampling of a level takes for each image, in bytes: what is kept, tables, and one step.

    Args:
        config: The prior.
        element_size: Bytes of a number that is kept: 4 for float32.
    """
    order = CausalOrder(config.height, config.width, config.slope)
    c, n, widest = config.channels, order.num_positions, max(map(len, order.steps()))
    taps = [len(open_taps(order, config.kernel_size, strict)) for strict in (True, False)]
    attentions = config.layers // config.attention_every if config.attention_every else 0
    kept = (1 + config.layers) * padded_cells(order, config.kernel_size) * c + attentions * 2 * n * c
    kept += n * c if config.is_conditioned else 0
    step = widest * (taps[1] * c + (2 + 2 * config.layers) * 2 * c + 8 * c)
    tables = n * (4 * sum(taps) + 8)
    noise_and_logits = widest * config.codebook_size * 6 * 8
    return element_size * (kept + step) + tables + noise_and_logits


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The number format that autocast asks for here, if it does."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
