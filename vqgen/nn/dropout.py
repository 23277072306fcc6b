"""Dropout whose mask is cheap on a CPU.

Paper: Dropout (Srivastava et al. 2014, JMLR 15).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_VALUES = 1 << 16
"""Distinct values of a draw of 16 bits."""


class Dropout(nn.Dropout):
    """Dropout: in training each feature is zero with probability p, and all other features are divided by 1 - p.

    On a CPU torch draws a double-precision number for every feature. 16 random bits are enough, so one draw of 64 bits
    serves four features. On a CPU p is therefore rounded to a multiple of 2^-16.

    Source: Srivastava et al. 2014, section 10: the variant that scales in training rather than afterwards.
    """

    def forward(self, features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drops features in training. In evaluation it returns them unchanged."""
        if features.device.type != "cpu":
            return F.dropout(features, self.p, self.training)
        mask = self.draw(features)
        return features if mask is None else features * mask

    def draw(self, features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"] | None:
        """Draws the factor of each feature on a CPU: 0, or the scale that keeps the mean; None if none is dropped."""
        if not self.training or self.p == 0:
            return None
        return torch.ops.vqgen.dropout_mask(features.detach(), self.p)


# A custom operator, because torch.compile then calls it as a whole. Its own code for the random bits would be slower.
torch.library.define(
    "vqgen::dropout_mask", "(Tensor features, float share) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)


@torch.library.impl("vqgen::dropout_mask", "cpu")
def _mask(features: Tensor, share: float) -> Tensor:
    """Draws the factor of each feature: 0, or the scale that keeps the mean."""
    # At least one value stays, so that the scale is finite for a share just below 1.
    dropped = min(round(share * _VALUES), _VALUES - 1)
    draws = torch.empty(-(-features.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    # Seen as int16 the bits are uniform in [-2^15, 2^15), and the lowest `dropped` of these values mean "drop".
    kept = draws.view(torch.int16)[: features.numel()].view(features.shape) >= dropped - _VALUES // 2
    return kept.to(features.dtype).mul_(_VALUES / (_VALUES - dropped))


# Gives torch.compile the shape and dtype of the result without computing it.
@torch.library.register_fake("vqgen::dropout_mask")
def _(features: Tensor, share: float) -> Tensor:
    return features.new_empty(features.shape)
