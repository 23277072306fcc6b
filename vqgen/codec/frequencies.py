"""Integer frequencies for the entropy coder; encoder and decoder compute them with the same functions.

Everything here is integer arithmetic on the CPU, the same on every machine. Floating point ends with the rounding of
logits to multiples of 1/32. A difference in their last bits, between threads, shapes or devices, then changes nothing
unless a logit lies on the border between two multiples.

Legend: `k` codebook entries.
"""

from decimal import Decimal, localcontext

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vqgen.codec import c_fixed

PRECISION = 24
"""Bits of a frequency."""

TOTAL = 1 << PRECISION
"""Sum of the frequencies of a distribution."""

_STEPS_PER_NAT = 32
"""Multiples in a nat to which logits are rounded; the rounding costs (1/32)^2 / 24 = 4e-5 nats per code."""

_LARGEST_LOGIT = 1 << 20
"""Limit of rounded logits; differences of more than about 20 nats all give the least frequency anyway."""

_WEIGHT_BITS = 30


def frequencies_of_weights(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scales weights to integers of sum 2^24, each at least 1: 1 + floor(w (2^24 - k) / sum(w)).

    Rounding down leaves a remainder; it goes to the largest weight, the first of them if several are largest.

    Args:
        weights: `(..., k)`, each in [0, 2^38], at least one per row above 0; k at most 2^16.

    Returns:
        `(..., k)`.
    """
    # A code of frequency 0 could not be written, so every code has 1 and only the rest is shared.
    free = TOTAL - weights.shape[-1]
    shares = weights * free // weights.sum(axis=-1, keepdims=True)  # below 2^38 * 2^24 = 2^62: int64 does not overflow
    # The largest frequency hides the remainder best: it changes the code's length the least.
    largest = weights.argmax(axis=-1)[..., None]
    left = free - shares.sum(axis=-1, keepdims=True)
    np.put_along_axis(shares, largest, np.take_along_axis(shares, largest, axis=-1) + left, axis=-1)
    return shares + 1


def frequencies_of_counts(counts: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
    """Scales a histogram to frequencies; every code counts once more than it was seen."""
    return torch.from_numpy(frequencies_of_weights(counts.cpu().numpy() + 1))


def frequencies_of_logits(logits: Float[Tensor, "... k"]) -> NDArray[np.int64]:
    """Computes frequencies in proportion to exp(logits), with the logits rounded to multiples of 1/32.

    Args:
        logits: On any device, in any dtype; NaN counts as 0.

    Returns:
        `(..., k)`, sum 2^24, each at least 1.
    """
    if logits.dtype == torch.float64 and c_fixed.can_compute(logits):
        return c_fixed.frequencies(logits, rounding())
    # The border to the integers: after this rounding, encoder and decoder have the same numbers even if their logits
    # differ in the last bits. torch rounds half to even on every device.
    rounded = (logits.double() * _STEPS_PER_NAT).round().nan_to_num(0.0, _LARGEST_LOGIT, -_LARGEST_LOGIT)
    steps = rounded.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).to(torch.int32).cpu().numpy()
    # The softmax depends on differences only; measured from the largest logit, the table of weights covers them all.
    below = steps.max(axis=-1, keepdims=True) - steps
    return frequencies_of_weights(_WEIGHTS[np.minimum(below, len(_WEIGHTS) - 1)])


def _weights() -> NDArray[np.int64]:
    """Computes round(2^30 exp(-i / 32)) for i = 0, 1, ... until it is 0.

    Decimal arithmetic is the same everywhere; the exponential of a mathematical library is not.
    """
    weights: list[int] = []
    with localcontext() as context:
        context.prec = 40
        while not weights or weights[-1]:
            exact = Decimal(2**_WEIGHT_BITS) * (Decimal(-len(weights)) / _STEPS_PER_NAT).exp()
            weights.append(int(exact.to_integral_value()))
    return np.array(weights, dtype=np.int64)


_WEIGHTS = _weights()


def rounding() -> c_fixed.Rounding:
    """Returns the constants of `frequencies_of_logits` for the compiled functions."""
    return c_fixed.Rounding.of(_WEIGHTS, TOTAL, _STEPS_PER_NAT, _LARGEST_LOGIT)
