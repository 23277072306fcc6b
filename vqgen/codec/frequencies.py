"""Integer frequencies: what the entropy coder counts with, computed by the same function on both sides.

Everything here is integer arithmetic on the CPU, the same on every machine. Floating point ends where logits are
rounded to multiples of 1/32: a difference in their last bits, between threads, shapes or devices, then changes
nothing unless it meets a logit that lies on the border between two multiples.

Legend: `k` codebook entries.
"""

from decimal import Decimal, localcontext

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

PRECISION = 24
"""Bits of a frequency."""

TOTAL = 1 << PRECISION
"""Sum of the frequencies of a distribution."""

_STEPS_PER_NAT = 32
"""Multiples to which logits are rounded; it costs (1/32)^2 / 24 = 4e-5 nats per code."""

_LARGEST_LOGIT = 1 << 20
"""Beyond it logits are cut; differences of more than about 20 nats all mean the least frequency anyway."""

_WEIGHT_BITS = 30


def frequencies_of_weights(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scales weights to integers of sum 2^24, each at least 1: 1 + floor(w (2^24 - k) / sum(w)).

    What rounding down leaves goes to the largest weight, the first of them where several are largest.

    Args:
        weights: `(..., k)`, each in [0, 2^38], not all of a row zero; k at most 2^16.

    Returns:
        `(..., k)`.
    """
    free = TOTAL - weights.shape[-1]
    shares = weights * free // weights.sum(axis=-1, keepdims=True)
    largest = weights.argmax(axis=-1)[..., None]
    left = free - shares.sum(axis=-1, keepdims=True)
    np.put_along_axis(shares, largest, np.take_along_axis(shares, largest, axis=-1) + left, axis=-1)
    return shares + 1


def frequencies_of_counts(counts: Int64[Tensor, " k"]) -> Int64[Tensor, " k"]:
    """Frequencies of a histogram, in which every code counts once more than it was seen."""
    return torch.from_numpy(frequencies_of_weights(counts.cpu().numpy() + 1))


def frequencies_of_logits(logits: Float[Tensor, "... k"]) -> NDArray[np.int64]:
    """Frequencies in proportion to exp(logits), the logits rounded to multiples of 1/32.

    Args:
        logits: On any device, in any format; what is no number counts as 0.

    Returns:
        `(..., k)`, sum 2^24, each at least 1.
    """
    rounded = (logits.double() * _STEPS_PER_NAT).round().nan_to_num(0.0, _LARGEST_LOGIT, -_LARGEST_LOGIT)
    steps = rounded.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).to(torch.int32).cpu().numpy()
    below = steps.max(axis=-1, keepdims=True) - steps
    return frequencies_of_weights(_WEIGHTS[np.minimum(below, len(_WEIGHTS) - 1)])


def _weights() -> NDArray[np.int64]:
    """round(2^30 exp(-i / 32)) for i = 0, 1, ... down to 0.

    In decimal arithmetic, which is the same everywhere, as the exponential of a mathematical library is not.
    """
    with localcontext() as context:
        context.prec = 40
        weights, index = [], 0
        while not weights or weights[-1]:
            exact = Decimal(2**_WEIGHT_BITS) * (Decimal(-index) / _STEPS_PER_NAT).exp()
            weights.append(int(exact.to_integral_value()))
            index += 1
    return np.array(weights, dtype=np.int64)


_WEIGHTS = _weights()
