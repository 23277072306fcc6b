"""How much memory cached sampling takes and reads, and how many images at once fit in what there is."""

import math
from collections.abc import Sequence

from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder
from vqgen.sampling.noise import POSITIONS_AT_ONCE
from vqgen.sampling.step_tables import padded_cells, span_of, split_taps, widest

_SHARE = 0.8
"""Of the memory, what sampling may take: the rest is for the allocator and for what else the program holds."""


def images_that_fit(
    configs: Sequence[PixelCNNConfig],
    max_memory: int,
    element_size: int = 4,
    copies: int = 1,
    *,
    holds_memory: bool = False,
) -> int:
    """How many images can be sampled at once.

    Args:
        configs: The priors; a batch goes through one after the other.
        max_memory: Bytes that sampling may take.
        element_size: As in `bytes_per_image`.
        copies: How often each image is evaluated: once more with guidance, and once more with autoguidance.
        holds_memory: As in `Sampler`.

    Raises:
        ConfigError: Not even one image fits.
    """
    of_levels = [copies * bytes_per_image(config, element_size) for config in configs]
    needed = sum(of_levels) if holds_memory else max(of_levels)
    images = int(_SHARE * max_memory) // needed
    if images < 1:
        raise ConfigError(
            f"max_memory: should be at least {needed / _SHARE / 1e6:.3g} MB, which one image takes, "
            f"found {max_memory / 1e6:.3g} MB"
        )
    return images


def bytes_per_image(config: PixelCNNConfig, element_size: int = 4) -> int:
    """Memory that cached sampling of a level takes for each image, in bytes: what is kept, tables, and one step.

    Args:
        config: The prior.
        element_size: Bytes of a number that is kept: 4 for float32.
    """
    order = CausalOrder(config.height, config.width, config.slope)
    c, n, kernel_size = config.channels, order.num_positions, config.kernel_size
    span = span_of(order, kernel_size)
    step, known_positions = widest(order, 1), widest(order, span)
    splits = [split_taps(order, kernel_size, strict, span) for strict in (True, False)]
    near, far = (max(map(len, part)) for part in zip(*splits, strict=True))
    attentions = config.layers // config.attention_every if config.attention_every else 0
    kept = (1 + config.layers) * padded_cells(order, kernel_size) * c + attentions * 2 * n * c
    kept += n * c if config.is_conditioned else 0
    known = known_positions * ((1 + 2 * config.layers) * 2 * c + far * c)
    computed = step * (near * c + 12 * c)
    tables = n * (4 * 2 * (near + far) + 8)
    noise_and_logits = (2 * min(n, POSITIONS_AT_ONCE) + 5 * step) * config.codebook_size * 8
    return element_size * (kept + known + computed) + tables + noise_and_logits


def weights_read(config: PixelCNNConfig) -> int:
    """Counts the weights that cached sampling of a batch reads: those of far taps once per span, others in every step.

    Embeddings and the stack over the coarser codes, which are read once or in part, are left out.

    Args:
        config: The prior.
    """
    order = CausalOrder(config.height, config.width, config.slope)
    c, span = config.channels, span_of(order, config.kernel_size)
    (first_near, first_far), (near, far) = (
        map(len, split_taps(order, config.kernel_size, strict, span)) for strict in (True, False)
    )
    attentions = config.layers // config.attention_every if config.attention_every else 0
    each_step = (first_near + config.layers * (2 * near + 1) + attentions * 4 + config.output_layers * 8) * c * c
    each_step += c * config.codebook_size + (config.layers * 2 * c * c if config.is_conditioned and span == 1 else 0)
    each_span = (first_far + config.layers * 2 * far) * c * c
    each_span += config.layers * 2 * c * c if config.is_conditioned and span > 1 else 0
    return order.num_steps * each_step + math.ceil(order.num_steps / span) * each_span
