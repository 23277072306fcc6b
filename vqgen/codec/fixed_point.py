"""Layers in fixed point: the same numbers on every machine, in every shape and in any number of threads.

A number is a multiple of 2^-12 in a float64. Products of such numbers, and their sums, are exact as long as they need
at most 53 bits, so the order in which a library adds them up does not matter. What is not exact is rounded at once, by
operations that IEEE 754 defines to the last bit (+, -, x, /, square root, rounding). Functions without such a
definition are tables.

Legend: `c` channels in, `out` channels out.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.codec import c_fixed
from vqgen.nn.channel_norm import ChannelNorm

FRACTION_BITS = 12
"""Bits of a number behind the point. They cost about 1e-4 per activation, and logits are rounded to 1/32 anyway."""

LARGEST = 2.0**8
"""Bound of a number. Larger results are clamped: files get longer, and stay readable."""

MOST_CHANNELS = 2**11
"""Channels of a norm, at most: the sum of so many squares is exact."""

_LARGEST_INPUT = 2.0**10
"""Bound of what enters a linear map: a clamped number and what was added to it."""

_MANTISSA_BITS = 53
_MOST_WEIGHT_BITS = 20
_TABLE_BITS = 10
_TABLE_REACH = 16
"""Bound of a table's argument; beyond it tanh and the sigmoid are constant, to within 2^-12."""


def to_fixed(values: Float64[Tensor, "..."], bits: int = FRACTION_BITS) -> Float64[Tensor, "..."]:
    """Rounds to multiples of 2^-bits, half to even, within +-2^8."""
    scale = 2.0**bits
    # Multiplications by powers of two are exact.
    return (values * scale).round_().clamp_(-LARGEST * scale, LARGEST * scale).mul_(1 / scale)


class FixedLinear:
    """A linear map: exact products and sums, rounded once at the end.

    Weights keep as many bits as the exactness of the sum allows, at most 20 behind the point.

    Args:
        weight: The matrix.
        bias: Added to each row; None for none.

    Attributes:
        matrix: The rounded weights, `(c, out)`.
        bias: The rounded bias.
        panels: The matrix as the compiled functions read it; None on a machine without them.
    """

    def __init__(self, weight: Float64[Tensor, "out c"], bias: Float64[Tensor, " out"] | None = None) -> None:
        # Rounded before they are added up: this sum is exact too, so every machine finds the same number of bits.
        weight = to_fixed(weight.detach(), _MOST_WEIGHT_BITS)
        # A product's sum is a multiple of 2^-(12 + bits) below 2^10 x sum of |weights|: no more bits than a mantissa.
        largest = _LARGEST_INPUT * (1 + float(weight.abs().sum(dim=1).max()))
        bits = min(_MOST_WEIGHT_BITS, _MANTISSA_BITS - FRACTION_BITS - math.frexp(largest)[1])
        self.matrix = to_fixed(weight, bits).T.contiguous()
        self.bias = None if bias is None else to_fixed(bias.detach())
        self.panels = c_fixed.panels_of(self.matrix)

    def split(self, parts: int) -> Sequence["FixedLinear"]:
        """Cuts the map into maps to equal shares of its outputs, of the same bits."""
        size = self.matrix.shape[1] // parts
        biases = [None] * parts if self.bias is None else self.bias.split(size)
        found = [copy(self) for _ in range(parts)]
        for part, matrix, bias in zip(found, self.matrix.split(size, dim=1), biases, strict=True):
            part.matrix, part.bias, part.panels = matrix, bias, c_fixed.panels_of(matrix)
        return found

    def __call__(self, features: Float64[Tensor, "*n c"]) -> Float64[Tensor, "*n out"]:
        """Maps each row."""
        if self.panels is not None and c_fixed.can_compute(features):
            return c_fixed.linear(features, self.panels, self.matrix.shape[1], self.bias)
        result = to_fixed(features @ self.matrix)
        return result if self.bias is None else result.add_(self.bias)


def centred_and_variance(
    features: Float64[Tensor, "*n c"],
) -> tuple[Float64[Tensor, "*n c"], Float64[Tensor, "*n 1"]]:
    """Subtracts the mean of each row, rounded, and computes the mean square of what is left.

    Args:
        features: Numbers within +-2^8, of at most `MOST_CHANNELS` channels.
    """
    channels = features.shape[-1]
    centred = features - to_fixed(features.sum(dim=-1, keepdim=True) / channels)
    # Squares are multiples of 2^-24 and at most 2^18 each: the sum over 2^11 channels needs 53 bits.
    return centred, (centred * centred).sum(dim=-1, keepdim=True) / channels


class FixedNorm:
    """A norm over the channels.

    Args:
        norm: The layer, of at most `MOST_CHANNELS` channels.
    """

    def __init__(self, norm: nn.LayerNorm | ChannelNorm) -> None:
        self.weight = to_fixed(norm.weight.detach())
        self.bias = to_fixed(norm.bias.detach())
        self.eps = norm.eps

    def __call__(self, features: Float64[Tensor, "*n c"]) -> Float64[Tensor, "*n c"]:
        """Normalises each row; its numbers lie within +-2^8."""
        if c_fixed.can_compute(features):
            return c_fixed.norm(features, self.weight, self.bias, self.eps)
        centred, variance = centred_and_variance(features)
        normed = to_fixed(centred / (variance + self.eps).sqrt())
        return to_fixed(normed * self.weight).add_(self.bias)


class FixedFunction:
    """A function of one number, as a table over [-16, 16].

    Args:
        function: Computes the values, in float64.

    Attributes:
        table: The values, in fixed point, on the CPU: compiled functions keep its address.
        exact: The values before they are rounded. None of them lies near a tie, so every library that computes the
            function to 1e-11 makes the same table.
    """

    def __init__(self, function: Callable[[Float64[Tensor, " n"]], Float64[Tensor, " n"]]) -> None:
        steps = _TABLE_REACH << _TABLE_BITS
        self.exact = function(torch.arange(-steps, steps + 1, dtype=torch.float64) / 2**_TABLE_BITS)
        self.table = to_fixed(self.exact)
        self._tables = {self.table.device: self.table}

    def __call__(self, values: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
        """Looks up each value, rounded to a multiple of 2^-10."""
        if c_fixed.can_compute(values):
            return c_fixed.lookup(values, self.table)
        inside = values.clamp(-_TABLE_REACH, _TABLE_REACH).add_(_TABLE_REACH).mul_(2**_TABLE_BITS).round_()
        if values.device not in self._tables:
            self._tables[values.device] = self.table.to(values.device)
        return self._tables[values.device][inside.to(torch.int32)]


fixed_tanh = FixedFunction(torch.tanh)

fixed_sigmoid = FixedFunction(torch.sigmoid)


def fixed_gate(features: Float64[Tensor, "*n two_c"]) -> Float64[Tensor, "*n c"]:
    """Computes tanh(values) * sigmoid(gates), where a row has its values and then its gates."""
    if c_fixed.can_compute(features):
        return c_fixed.gate(features, fixed_tanh.table, fixed_sigmoid.table)
    values, gates = features.chunk(2, dim=-1)
    return to_fixed(fixed_tanh(values) * fixed_sigmoid(gates))


gelu_beside_relu = FixedFunction(lambda values: F.gelu(values) - F.relu(values))


def fixed_gelu(values: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """Computes GELU: the positive part, and a table of the difference to it, which is 0 beyond +-16."""
    return gelu_beside_relu(values).add_(values.clamp(min=0))
