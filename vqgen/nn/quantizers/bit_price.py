"""A price for bits in training: a likely entry may stand for a latent although another one is nearer.

Legend: `n` latents, `d` embedding, `k` codebook entries.
Source: entropy-constrained vector quantization (Chou, Lookabaugh and Gray 1989, IEEE TASSP 37). Deviations: each image
has a price of its own, so that one model serves many rates; prices count in running variances of the latents.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqgen.nn.nearest import nearest_codes
from vqgen.runtime.collective import all_reduce_sum

_DECAY = 0.99
"""Decay of the running variance."""


class BitPrice(nn.Module):
    """Chooses codes by distance + price x bits, with the bits of a code by its share of the latents so far.

    Attributes:
        variance: Running variance of the latents, summed over their dimensions: the unit of all prices. At the start it
            is 0, so bits are free. (With the error of the codes as the unit, dear bits would make themselves dearer.)
    """

    variance: Tensor
    moves: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.zeros(()))
        self.register_buffer("moves", torch.zeros(()))
        self._pending: Tensor | None = None

    @torch.no_grad()
    def codes(
        self, latents: Float[Tensor, "n d"], entries: Float[Tensor, "k d"], counts: Float[Tensor, " k"],
        prices: Float[Tensor, " n"],
    ) -> Int[Tensor, " n"]:  # fmt: skip
        """Chooses the code of each latent.

        Args:
            latents: The latents.
            entries: The codebook.
            counts: How often each code was chosen, above 0; on any scale.
            prices: The price of a bit for each latent, in multiples of `variance`.
        """
        if self.training:
            self._gather(latents)
        bits = -(counts / counts.sum()).log2()
        return nearest_codes(latents, entries, costs=bits, weights=prices * self.variance)

    @torch.no_grad()
    def move(self) -> None:
        """Moves the running variance by the latents since the last call, in all processes together."""
        if self._pending is None:
            return
        total = all_reduce_sum(self._pending)
        self._pending = None
        count, squares, mean = total[0], total[1], total[2:] / total[0]
        variance = squares / count - mean.square().sum()
        # A plain mean at first: the start is no variance.
        self.variance.lerp_(variance, (1 / (self.moves + 1)).clamp(min=1 - _DECAY))
        self.moves += 1

    def _gather(self, latents: Float[Tensor, "n d"]) -> None:
        counted = latents.new_tensor([len(latents)])
        own = torch.cat([counted, latents.square().sum().view(1), latents.sum(dim=0)])
        self._pending = own if self._pending is None else self._pending + own


def price_of(share: Float[Tensor, " b"], highest: float) -> Float[Tensor, " b"]:
    """Turns uniform draws from [0, 1) into prices up to the highest. Low ones, where most codes change, come often."""
    return highest * share**4


def share_unit(quantizers: Sequence[nn.Module]) -> None:
    """Gives all grids of a level the unit of the first: the later ones quantize residuals of the same latents."""
    prices = [price for quantizer in quantizers if isinstance(price := getattr(quantizer, "price", None), BitPrice)]
    for price in prices[1:]:
        price.variance.copy_(prices[0].variance)
