"""Estimates of cached sampling: the memory that it takes, the weights that it reads, the images that fit in memory."""

import math
from collections.abc import Sequence

from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder
from vqgen.sampling.noise import POSITIONS_AT_ONCE
from vqgen.sampling.step_tables import padded_cells, span_of, split_taps, widest

_SHARE = 0.8
"""Share of the memory that sampling may take. The rest is for the allocator and for other tensors of the program."""


def images_that_fit(
    configs: Sequence[PixelCNNConfig],
    max_memory: int,
    element_size: int = 4,
    copies: int = 1,
    *,
    holds_memory: bool = False,
) -> int:
    """Computes the number of images that can be sampled at a time.

    Args:
        configs: The priors. A batch passes through them one after the other.
        max_memory: Bytes that sampling may take.
        element_size: As in `bytes_per_image`.
        copies: Evaluations of each image: one, plus one for guidance, plus one for autoguidance.
        holds_memory: As in `Sampler`.

    Raises:
        ConfigError: Not even one image fits.
    """
    # The largest level counts if each level frees its memory before the next one starts.
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
    """Estimates the bytes that cached sampling of a level takes for each image: caches, tables, noise and one step.

    Args:
        config: The prior.
        element_size: Bytes of a cached number: 4 for float32.
    """
    order = CausalOrder(config.height, config.width, config.slope)
    c = config.channels
    n = order.num_positions
    kernel_size = config.kernel_size
    span = span_of(order, kernel_size)
    step = widest(order, 1)
    splits = [split_taps(order, kernel_size, strict, span) for strict in (True, False)]
    near, far = (max(map(len, part)) for part in zip(*splits, strict=True))
    attentions = config.layers // config.attention_every if config.attention_every else 0
    # The input of every convolution on the padded grid; keys and values; the features of the coarser codes.
    cached = (1 + config.layers) * padded_cells(order, kernel_size) * c + attentions * 2 * n * c
    cached += n * c if config.is_conditioned else 0
    # Sums of a span, c for the first convolution and 2 c for each block: twice, because the conditioning is alive while
    # the far taps are added to it. And the gathered rows of the far taps of one layer.
    known = widest(order, span) * ((1 + 2 * config.layers) * 2 * c + far * c)
    # The gathered rows of the near taps of one layer, and some twelve features of each position.
    computed = step * (near * c + 12 * c)
    # int32 rows for two kinds of convolutions, and int64 rows to write to.
    tables = n * (4 * 2 * (near + far) + 8)
    # In float64: a chunk of noise beside the copy that joins it to the rest of the last chunk; logits and their copies.
    noise_and_logits = (2 * min(n, POSITIONS_AT_ONCE) + 5 * step) * config.codebook_size * 8
    return element_size * (cached + known + computed) + tables + noise_and_logits


def weights_read(config: PixelCNNConfig) -> int:
    """Counts the weights that cached sampling of a batch reads: far taps once for each span, all others at every step.

    Embeddings and the stack over the coarser codes are left out. They are read in part, or once.

    Args:
        config: The prior.
    """
    order = CausalOrder(config.height, config.width, config.slope)
    c = config.channels
    span = span_of(order, config.kernel_size)
    (first_near, first_far), (near, far) = (
        map(len, split_taps(order, config.kernel_size, strict, span)) for strict in (True, False)
    )
    attentions = config.layers // config.attention_every if config.attention_every else 0
    # In squares of c: a block maps each tap from c to 2 c and projects c to c. An attention makes queries, keys, values
    # and a projection. An output block maps c to 4 c and back.
    each_step = (first_near + config.layers * (2 * near + 1) + attentions * 4 + config.output_layers * 8) * c * c
    # The matrices of the condition belong to the sums known ahead: read at every step if a span is one step.
    each_step += c * config.codebook_size + (config.layers * 2 * c * c if config.is_conditioned and span == 1 else 0)
    each_span = (first_far + config.layers * 2 * far) * c * c
    each_span += config.layers * 2 * c * c if config.is_conditioned and span > 1 else 0
    return order.num_steps * each_step + math.ceil(order.num_steps / span) * each_span
