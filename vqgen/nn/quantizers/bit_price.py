"""A price for bits in training: a likely entry may stand for a latent although another one is nearer.

Legend: `n` latents, `d` embedding, `k` codebook entries.
Source: entropy-constrained vector quantization (Chou, Lookabaugh and Gray 1989, IEEE TASSP 37). Deviations: each image
has a price of its own, so that one model serves many rates; prices count in running errors of nearest entries.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqgen.nn.nearest import mean_square_distance, nearest_codes
from vqgen.runtime.collective import all_reduce_sum

_DECAY = 0.99
"""Decay of the running error."""


class BitPrice(nn.Module):
    """Chooses codes by distance + price x bits, with the bits of a code by its share of the latents so far.

    Attributes:
        distance: Running mean of the squared distance between a latent and its nearest entry: the unit of all prices.
            At the start it is 0, so bits are free.
    """

    distance: Tensor
    moves: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("distance", torch.zeros(()))
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
            prices: The price of a bit for each latent, in multiples of `distance`.
        """
        if self.training:
            self._gather(latents, entries[nearest_codes(latents, entries)])
        bits = -(counts / counts.sum()).log2()
        return nearest_codes(latents, entries, costs=bits, weights=prices * self.distance)

    @torch.no_grad()
    def move(self) -> None:
        """Moves the running error by the latents since the last call, in all processes together."""
        if self._pending is None:
            return
        total, count = all_reduce_sum(self._pending)
        self._pending = None
        # A plain mean at first: the start is no error.
        self.distance.lerp_(total / count, (1 / (self.moves + 1)).clamp(min=1 - _DECAY))
        self.moves += 1

    def _gather(self, latents: Tensor, nearest: Tensor) -> None:
        error = mean_square_distance(latents, nearest) * latents.numel()
        own = torch.stack([error, error.new_tensor(len(latents))])
        self._pending = own if self._pending is None else self._pending + own


def price_of(share: Float[Tensor, " b"], highest: float) -> Float[Tensor, " b"]:
    """Turns uniform draws from [0, 1) into prices up to the highest. Low ones, where most codes change, come often."""
    return highest * share.square()


def share_unit(quantizers: Sequence[nn.Module]) -> None:
    """Gives the grids of a level one unit of their prices: that of the last one, whose error is left in the picture."""
    prices = [price for quantizer in quantizers if isinstance(price := getattr(quantizer, "price", None), BitPrice)]
    for price in prices[:-1]:
        price.distance.copy_(prices[-1].distance)
