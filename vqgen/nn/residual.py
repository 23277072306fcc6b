"""Residual blocks over feature maps.

Legend: `b` batch, `c` channels, `h w` grid.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """A residual block of a 3 x 3 and a 1 x 1 convolution: x + conv1(relu(conv3(relu(x)))).

    Args:
        channels: Channels of input and output.
        residual_channels: Channels between the two convolutions.

    Source: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), section 4.1.
    """

    def __init__(self, channels: int, residual_channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, residual_channels, kernel_size=3, padding=1)
        self.pointwise = nn.Conv2d(residual_channels, channels, kernel_size=1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Applies the block."""
        return features + self.pointwise(F.relu(self.spatial(F.relu(features))))


class ResidualStack(nn.Sequential):
    """A sequence of residual blocks and a ReLU.

    Args:
        channels: Channels of input and output.
        residual_channels: Channels inside each block.
        layers: Number of blocks. 0 leaves the ReLU alone.
    """

    def __init__(self, channels: int, residual_channels: int, layers: int) -> None:
        super().__init__(*(ResidualBlock(channels, residual_channels) for _ in range(layers)), nn.ReLU())
