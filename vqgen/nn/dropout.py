"""Dropout whose mask is cheap on a CPU.

Paper: Dropout (Srivastava et al. 2014, JMLR 15).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_VALUES = 1 << 16


class Dropout(nn.Dropout):
    """In training each feature is zero with probability p, and the others are divided by 1 - p.

    On a CPU torch draws a number of double precision for every feature; 16 random bits do as well, four features to a
    draw. There p is rounded to a multiple of 2^-16.

    Source: Srivastava et al. 2014, section 10, which scales in training rather than after it.
    """

    def forward(self, features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drops features in training, and returns them as they are otherwise."""
        is_cheap = features.device.type == "cpu" and 0 < self.p < 1
        if not (self.training and is_cheap):
            return F.dropout(features, self.p, self.training)
        return features * torch.ops.vqgen.dropout_mask(features.detach(), self.p)


# An operator of its own, which torch.compile takes as a whole: what it would make of the random bits is slower.
torch.library.define(
    "vqgen::dropout_mask", "(Tensor features, float share) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)


@torch.library.impl("vqgen::dropout_mask", "cpu")
def _mask(features: Tensor, share: float) -> Tensor:
    """Like the features: zeros, and where nothing is dropped what keeps the mean."""
    dropped = min(round(share * _VALUES), _VALUES - 1)
    draws = torch.empty(-(-features.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: features.numel()].view(features.shape) >= dropped - _VALUES // 2
    return kept.to(features.dtype).mul_(_VALUES / (_VALUES - dropped))


@torch.library.register_fake("vqgen::dropout_mask")
def _(features: Tensor, share: float) -> Tensor:
    return features.new_empty(features.shape)
