"""Finite scalar quantization: each dimension of a latent is bounded and rounded.

Legend: `n` flattened positions, `d` dimensions, `k` codes.
Source: Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made Simple", arXiv 2309.15505, appendix A.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from vqgen.nn.quantizers.base import Assigned, Quantizer, weighted_mean

_MARGIN = 1e-3
"""Share by which the bound is wider than the outer values: at exactly the bound the tanh would have no gradient."""


class FiniteScalarQuantizer(Quantizer):
    """A quantizer without a codebook: dimension i takes one of `levels[i]` evenly spaced values.

    A code counts through all combinations, the first dimension fastest. Values lie in [-1, 1]; of an even number of
    values the highest is below 1. There is no commitment: the bound keeps latents near their values.

    Args:
        levels: Values of each dimension, at least 2.
        quantize_after: As in `Quantizer`.
    """

    levels: Tensor
    bases: Tensor
    grid: Tensor

    def __init__(self, levels: Sequence[int], *, quantize_after: int = 0) -> None:
        super().__init__(quantize_after)
        bases = np.array([prod(levels[:index]) for index in range(len(levels))])
        digits = np.arange(prod(levels))[:, None] // bases % np.array(levels)
        half = np.array(levels) // 2
        # Not persistent: they follow from the configuration.
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)
        self.register_buffer("bases", torch.tensor(bases), persistent=False)
        self.register_buffer("grid", torch.tensor((digits - half) / half, dtype=torch.float32), persistent=False)

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the values of every code."""
        return self.grid

    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the mean of the values; without frequencies every code counts alike."""
        return self.grid.mean(dim=0) if frequencies is None else weighted_mean(self.grid, frequencies)

    def place(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Bounds latents; the values lie half as many steps apart as there are."""
        return self._bounded(latents) / self.levels.div(2, rounding_mode="floor")

    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Bounds and rounds latents. The gradient passes the rounding unchanged."""
        bounded = self._bounded(latents)
        steps = bounded.detach().round()
        half = self.levels.div(2, rounding_mode="floor")
        quantized = (bounded + (steps - bounded.detach())) / half
        codes = self._codes(steps + half)
        # The entries themselves forward, bit for bit: the sum above rounds.
        quantized = quantized + (torch.nn.functional.embedding(codes, self.grid) - quantized).detach()
        return Assigned(quantized, codes, latents.new_zeros(()))

    def _bounded(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Bounds latents so that rounding gives one of `levels` integers around zero."""
        half = (self.levels - 1) * (1 + _MARGIN) / 2
        # An even number of integers is not symmetric around zero: -2, -1, 0, 1. The shift maps a latent of 0 to 0.
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0).to(latents)
        shift = (offset / half).atanh()
        return (latents + shift).tanh() * half - offset

    def _codes(self, digits: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Reads digits, from 0 up, as one number."""
        return (digits.long() * self.bases).sum(dim=1)
