"""A quantizer without information: every code has the same entry.

Legend: `n` flattened positions, `d` embedding, `k` codes.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vqgen.nn.quantizers.base import Assigned, Quantizer


class ConstantQuantizer(Quantizer):
    """A quantizer that stands for a level whose codes are not decoded.

    Args:
        entry: The entry of all codes, `(d,)`.
        codebook_size: Codes k.
    """

    entry: Tensor

    def __init__(self, entry: Tensor, codebook_size: int) -> None:
        super().__init__(quantize_after=0)
        self.codebook_size = codebook_size
        self.register_buffer("entry", entry)

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the entry once for every code."""
        return self.entry.expand(self.codebook_size, -1)

    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the entry."""
        return self.entry

    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Gives every latent code 0."""
        codes = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        return Assigned(self.entry.expand_as(latents), codes, latents.new_zeros(()))
