"""Lookup-free quantization: a code is the signs of a latent.

Legend: `n` flattened positions, `d` bits, `k` codes (2^d).
Source: MAGVIT-v2 (Yu et al. 2023, arXiv 2310.05737), section 3.1. Deviation: a fiftieth of the commitment loss.
"""

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vqgen.nn.quantizers.base import Assigned, Quantizer, weighted_mean
from vqgen.nn.quantizers.entropy import UsageEntropy
from vqgen.nn.straight_through import Estimator, straight_through

_COMMITMENT = 0.02
"""Share of the commitment loss that counts. The encoder chooses the scale of latents whose entries follow them; corners
stay. The whole loss would outweigh that of the image, hold each latent at its corner, and leave few codes in use.
"""


class LookupFreeQuantizer(Quantizer):
    """A quantizer whose entries are the corners of a cube: -1 or 1 in each dimension. Bit i is the sign of dimension i.

    Args:
        bits: Dimensions d.
        quantize_after: As in `Quantizer`.
        estimator: The gradient of the quantized latents.
        entropy: The entropy loss over bits; None for none.
    """

    bases: Tensor
    corners: Tensor

    def __init__(
        self,
        bits: int,
        *,
        quantize_after: int = 0,
        estimator: Estimator = straight_through,
        entropy: UsageEntropy | None = None,
    ) -> None:
        super().__init__(quantize_after)
        self.estimator = estimator
        self.entropy = entropy
        corners = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
        # Not persistent: they follow from the configuration.
        self.register_buffer("bases", torch.tensor([2**bit for bit in range(bits)]), persistent=False)
        self.register_buffer("corners", torch.tensor(2 * corners - 1, dtype=torch.float32), persistent=False)

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the corner of every code."""
        return self.corners

    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the mean of the corners; without frequencies the centre of the cube."""
        return self.corners.mean(dim=0) if frequencies is None else weighted_mean(self.corners, frequencies)

    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Takes the signs of latents; zero counts as positive, as the paper has it for negative."""
        codes = ((latents.detach() >= 0) * self.bases).sum(dim=1)
        quantized, distance = self.estimator(latents, nn.functional.embedding(codes, self.corners))
        commitment_loss = _COMMITMENT * distance
        if self.entropy is None or not self.training:
            return Assigned(quantized, codes, commitment_loss)
        return Assigned(quantized, codes, commitment_loss, self.entropy.of_bits(latents))

    def move(self) -> None:
        """Moves the running shares of the entropy loss."""
        if self.entropy is not None:
            self.entropy.move()
