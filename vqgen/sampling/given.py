"""Codes of a level that stay, for sampling the others.

Legend: `b` images, `h w` grid, `n` positions in order time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vqgen.order import CausalOrder


@dataclass(frozen=True)
class Given:
    """Codes of a level, some of which stay while the others are drawn anew.

    Attributes:
        codes: The codes, `(b, h, w)`, or `(b, n)` in order time. Those that are drawn anew have no effect.
        redrawn: True for each code that is drawn anew, in the same shape.
    """

    codes: Int[Tensor, "b ..."]
    redrawn: Bool[Tensor, "b ..."]

    def in_order_time(self, order: CausalOrder) -> "Given":
        """Returns the codes of a grid, sorted by their time."""
        positions = torch.from_numpy(order.positions).to(self.codes.device)
        return Given(self.codes.flatten(1)[:, positions], self.redrawn.flatten(1)[:, positions])

    def between(self, begin: int, end: int) -> "Given":
        """Returns the codes from `begin` to `end` in order time."""
        return Given(self.codes[:, begin:end], self.redrawn[:, begin:end])

    def of_images(self, begin: int, end: int) -> "Given":
        """Returns the codes of the images from `begin` to `end`."""
        return Given(self.codes[begin:end], self.redrawn[begin:end])

    def keep(self, drawn: Int[Tensor, "b ..."]) -> Int[Tensor, "b ..."]:
        """Puts the codes that stay over drawn ones, on the device of the drawn ones."""
        # Without a branch on the values: a CUDA graph records it.
        return torch.where(self.redrawn.to(drawn.device), drawn, self.codes.to(drawn.device))
