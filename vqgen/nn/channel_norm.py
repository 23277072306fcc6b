"""A norm of features that looks at one position at a time.

Legend: `b` batch, `c` channels, `h w` grid.
Source: High-Fidelity Generative Image Compression (Mentzer et al. 2020, arXiv 2006.09965), section 3.2, ChannelNorm.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Normalizes the channels of each position: (x - mean(x)) / deviation(x), times a weight, plus a bias.

    A group norm takes mean and deviation over the whole grid, so each feature depends on the whole picture: parts of a
    picture would have other codes than the whole, and pictures larger than those of the training other statistics.

    Args:
        channels: Channels of the features.

    Attributes:
        eps: Added to the variance.
    """

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalizes, in float32 at least."""
        # In the layout "channels last" these two are no copies.
        rows = rearrange(features, "b c h w -> b h w c")
        wide = rows.float() if rows.element_size() < 4 else rows  # 16 bits are too few for sums and squares
        with torch.autocast(features.device.type, enabled=False):
            normalized = F.layer_norm(wide, self.weight.shape, self.weight, self.bias, self.eps)
        return rearrange(normalized.to(features.dtype), "b h w c -> b c h w")
