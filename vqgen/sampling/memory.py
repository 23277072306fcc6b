"""Estimates of cached sampling: the memory that it takes, the weights that it reads, the images that fit in memory."""

import math
from collections.abc import Sequence

import torch

from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder
from vqgen.sampling.noise import POSITIONS_AT_ONCE
from vqgen.sampling.step_tables import padded_cells, span_of, split_taps, widest

_SHARE = 0.8
"""Share of the memory that sampling may take. The rest is for the allocator and for other tensors of the program."""

MOST_GRAPH_BYTES = 2**31
"""Largest memory of one recorded map, by `graph_bytes`. A map of more kernels is sampled without a graph."""


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
    of_levels = [copies * bytes_per_image(config, element_size, records=holds_memory) for config in configs]
    # The largest level counts if each level frees its memory before the next one starts. Recorded maps of all levels
    # stay, and beside them a batch of another size passes through one level at a time.
    needed = max(of_levels) + (sum(of_levels) if holds_memory else 0)
    held = sum(min(copies * graph_bytes(config), MOST_GRAPH_BYTES) for config in configs) if holds_memory else 0
    images = (int(_SHARE * max_memory) - held) // needed
    if images < 1:
        raise ConfigError(
            f"max_memory: should be at least {(needed + held) / _SHARE / 1e6:.3g} MB, which one image takes, "
            f"found {max_memory / 1e6:.3g} MB"
        )
    return images


def bytes_per_image(config: PixelCNNConfig, element_size: int = 4, *, records: bool = False) -> int:
    """Estimates the bytes that cached sampling of a level takes for each image: caches, tables, noise and one step.

    Args:
        config: The prior.
        element_size: Bytes of a cached number: 4 for float32.
        records: True if the map is recorded as a CUDA graph. Its noise is then drawn as a whole.
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
    drawn = 2 * min(n, POSITIONS_AT_ONCE) + (n if records else 0)
    noise_and_logits = (drawn + 5 * step) * config.codebook_size * 8
    return element_size * (cached + known + computed) + tables + noise_and_logits


def graph_bytes(config: PixelCNNConfig) -> int:
    """Estimates the bytes that a CUDA graph of all steps takes for its kernels, whatever the number of images.

    Args:
        config: The prior.
    """
    attentions = config.layers // config.attention_every if config.attention_every else 0
    # Each layer is a few kernels. The last number: the first convolution, and the choice of codes with top-k and top-p.
    each_step = 10 * config.layers + 14 * attentions + 7 * config.output_layers + 54
    return CausalOrder(config.height, config.width, config.slope).num_steps * each_step * _kernel_bytes()


def _kernel_bytes() -> int:
    """Returns the device memory of a recorded kernel.

    Source: the page "CUDAGraph Trees" of PyTorch's documentation: 64 KB, up to CUDA 12.4 and driver 550. With newer
    drivers we assume a few KB: the arguments of the kernel and its place in the graph.
    """
    # Not public, but it has been there for years. 12040 is the driver of CUDA 12.4.
    is_old = torch.cuda.is_available() and torch._C._cuda_getDriverVersion() < 12040  # pyright: ignore[reportAttributeAccessIssue]
    return 2**16 if is_old else 2**12


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
