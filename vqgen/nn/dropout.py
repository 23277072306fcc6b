"""Dropout that does not hold up training on a CPU.

Paper: Dropout (Srivastava et al. 2014, JMLR 15), section 4.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_DRAWS = 2**16
"""Values of the draw that each feature gets: dropout is exact to a share of 1 / 65,536."""


class Dropout(nn.Dropout):
    """Sets a share p of the features to 0 in training and divides the others by 1 - p.

    On a CPU torch draws one random number after the other for this, in one thread; here four features share the 64 bits
    of one number. Elsewhere it is torch's own.

    Args:
        p: Share that is dropped, in [0, 1).

    Source: JMLR 15 (2014), section 4; scaled in training instead of afterwards, as in torch.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drops features, or returns them as they are outside of training."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        count = input.numel()
        numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = numbers.view(torch.int16)[:count].view(input.shape)
        kept = draws >= round(self.p * _DRAWS) - _DRAWS // 2
        return input * kept.to(input.dtype) * (1 / (1 - self.p))  # not the mask times a scale rounded to 16 bits
