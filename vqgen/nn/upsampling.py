"""Layers that double the sides of a grid.

Legend: `b` batch, `i o` channels in and out, `h w` grid.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import Upsampling


class NearestConv2d(nn.Module):
    """Repeats each feature in a square of 2 x 2 positions, then convolves with a kernel of 3 x 3.

    The two steps are computed as one: a transposed convolution of stride 2, whose 4 x 4 kernel is the 3 x 3 kernel
    spread over 2 x 2 positions. It needs 16 products in place of 36, and the repeated features take no memory. A free
    4 x 4 kernel weighs the positions of a square in four different ways, which shows as a checkerboard. Here all four
    come from one kernel.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.

    Source: Odena et al. 2016, "Deconvolution and Checkerboard Artifacts", https://doi.org/10.23915/distill.00003
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        # Its own initialization is the right one: each output is a sum over 9 taps.
        convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.weight = convolution.weight
        self.bias = convolution.bias

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h2 w2"]:
        """Doubles both sides."""
        return F.conv_transpose2d(features, self.transposed_kernel(), self.bias, stride=2, padding=1)

    def transposed_kernel(self) -> Float[Tensor, "i o 4 4"]:
        """Spreads each tap over 2 x 2 positions, in the order of a transposed convolution: the reverse."""
        taps = self.weight.transpose(0, 1).flip(2, 3)
        rows = F.pad(taps, (0, 0, 0, 1)) + F.pad(taps, (0, 0, 1, 0))
        return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


def upsampling_layer(kind: Upsampling, in_channels: int, out_channels: int) -> nn.Module:
    """Builds a layer that doubles both sides of a grid.

    Args:
        kind: transposed (a convolution of 4 x 4, stride 2) or nearest (see `NearestConv2d`).
        in_channels: Channels of the features.
        out_channels: Channels of the result.
    """
    if kind == "nearest":
        return NearestConv2d(in_channels, out_channels)
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)
