"""The quantizer of a grid of codes, as a configuration describes it."""

from typing import Any

from vqgen.config import VQVAEConfig
from vqgen.nn.quantizers.base import Quantizer
from vqgen.nn.quantizers.bit_price import BitPrice
from vqgen.nn.quantizers.cosine import CosineQuantizer
from vqgen.nn.quantizers.ema import EmaQuantizer
from vqgen.nn.quantizers.entropy import UsageEntropy
from vqgen.nn.quantizers.fsq import FiniteScalarQuantizer
from vqgen.nn.quantizers.learned import LearnedCosineQuantizer, SimVQQuantizer
from vqgen.nn.quantizers.lfq import LookupFreeQuantizer
from vqgen.nn.rotation import rotate_through
from vqgen.nn.straight_through import Estimator, straight_through

_ESTIMATORS = {"straight-through": straight_through, "rotation": rotate_through}


def estimator_of(config: VQVAEConfig) -> Estimator:
    """Returns the gradient of quantized latents."""
    return _ESTIMATORS[config.quantizer.gradient]


def make_quantizer(config: VQVAEConfig, grid: int) -> Quantizer:
    """Builds the quantizer of a grid of codes.

    Args:
        config: The configuration of the VQ-VAE.
        grid: The grid, counted coarse to fine.
    """
    settings = config.quantizer
    index = config.levels_of_grids[grid]
    kind = settings.kind_of(index)
    waits: dict[str, Any] = {"quantize_after": config.quantize_after}
    if kind == "fsq":
        return FiniteScalarQuantizer(settings.values_of_dimensions(config.codebook_size), **waits)
    estimator = estimator_of(config)
    if kind == "lfq":
        bits = config.latent_dims[index]
        return LookupFreeQuantizer(bits, estimator=estimator, entropy=_entropy(config, bits, 2), **waits)
    if settings.rate_weight:
        waits["price"] = BitPrice()  # the kind is ema: others are refused
    classes = {"ema": EmaQuantizer, "cosine": CosineQuantizer, "simvq": SimVQQuantizer}
    is_learned = kind == "cosine" and settings.codebook == "learned"
    return (LearnedCosineQuantizer if is_learned else classes[kind])(
        config.codebook_size,
        config.embedding_dim,
        decay=config.codebook_decay,
        data_init=config.initialization == "data",
        kmeans_iterations=config.kmeans_iterations,
        restart_after=config.restart_after,
        estimator=estimator,
        entropy=_entropy(config, 1, config.codebook_size),
        **waits,
    )


def _entropy(config: VQVAEConfig, groups: int, values: int) -> UsageEntropy | None:
    weight = config.quantizer.entropy_weight
    return UsageEntropy(weight, groups, values) if weight else None
