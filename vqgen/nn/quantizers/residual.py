"""Residual quantization: several quantizers in turn, each of what those before it left.

    latents -----------------> first quantizer  --> entries --+--> sum --> quantized map
    latents - first entries -> second quantizer --> entries --+
    latents - sum of both ---> third quantizer  --> entries --+

Legend: `b` batch, `d` embedding, `h w` grid, `n` flattened positions (b * h * w).
Source: RQ-VAE (Lee et al. 2022, arXiv 2203.01941), section 3.1. Deviation: each quantizer has a codebook of
its own; the paper shares one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vqgen.nn.quantizers.base import Quantized, Quantizer
from vqgen.nn.straight_through import Estimator


@dataclass(frozen=True)
class ResidualQuantized:
    """The output of several quantizers in turn.

    Attributes:
        quantized: The sum of their entries. Its gradient goes to the latents.
        parts: The output of each. A commitment loss compares the latents with the sum up to its quantizer, and a
            codebook loss moves the entries of its quantizer to the residual.
    """

    quantized: Float[Tensor, "b d h w"]
    parts: list[Quantized]


def quantize_in_turn(
    quantizers: Sequence[Quantizer],
    latents: Float[Tensor, "b d h w"],
    estimator: Estimator,
    prices: Float[Tensor, " b"] | None = None,
) -> ResidualQuantized:
    """Quantizes latents by the first quantizer, and by each other one the residual, latents - sum of entries so far.

    The commitment losses are those of the paper: |latents - sg(sum up to d)|^2 for each depth d. A residual holds the
    sum before it as a constant, so the loss of its own quantizer has this value and this gradient.

    Args:
        quantizers: At least one. While one of them passes its latents unchanged, the sum is the latents.
        latents: The output of the encoder.
        estimator: The gradient of the sum; that of the parts goes nowhere.
        prices: As in `Quantizer.forward`.
    """
    parts = [quantizers[0](latents, prices)]
    if len(quantizers) == 1:
        return ResidualQuantized(parts[0].quantized, parts)
    # In the dtype of the entries: a residual of bfloat16 would have no digits left.
    latents = latents.to(parts[0].quantized.dtype)
    total = parts[0].quantized.detach()
    for quantizer in quantizers[1:]:
        part = quantizer(latents - total, prices)
        parts.append(part)
        total = total + part.quantized.detach()
    b, _, h, w = latents.shape
    # The estimators take latents in a row; their second result is the last commitment loss, which its part has too.
    through, _ = estimator(rearrange(latents, "b d h w -> (b h w) d"), rearrange(total, "b d h w -> (b h w) d"))
    return ResidualQuantized(rearrange(through, "(b h w) d -> b d h w", b=b, h=h, w=w), parts)


def sum_of_entries(entries: Sequence[Tensor]) -> Tensor:
    """Sums the entries of several quantizers, in the order in which `quantize_in_turn` does: to the same bits."""
    total = entries[0]
    for each in entries[1:]:
        total = total + each
    return total
