"""Networks that shrink an image to a grid of features, and networks that grow it again.

Legend: `ratio` the side of the larger grid divided by the side of the smaller grid, a power of two, at least 2.
"""

from itertools import pairwise

from torch import nn

from vqgen.config import Upsampling
from vqgen.nn.residual import ResidualStack
from vqgen.nn.upsampling import upsampling_layer


def encoder_network(in_channels: int, channels: int, ratio: int, residual_channels: int, layers: int) -> nn.Sequential:
    """Builds a network that shrinks by `ratio` with strided convolutions, then refines with residual blocks.

    Args:
        in_channels: Channels of the image or the finer features.
        channels: Channels of the result.
        ratio: As in the legend.
        residual_channels: Channels inside each residual block.
        layers: Number of residual blocks.
    """
    halvings = ratio.bit_length() - 1
    # The first convolution sees the largest grid, so it has half the channels.
    widths = [in_channels, channels // 2, *[channels] * (halvings - 1)]
    parts: list[nn.Module] = []
    for i, o in pairwise(widths):
        parts += [nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    parts.append(nn.Conv2d(widths[-1], channels, kernel_size=3, padding=1))
    return nn.Sequential(*parts, ResidualStack(channels, residual_channels, layers))


def decoder_network(
    in_channels: int,
    channels: int,
    out: int,
    ratio: int,
    residual: int,
    layers: int,
    upsampling: Upsampling = "transposed",
) -> nn.Sequential:
    """Builds a network that refines with residual blocks, then grows by `ratio`.

    Args:
        in_channels: Channels of the features.
        channels: Channels of the residual blocks.
        out: Channels of the result.
        ratio: As in the legend.
        residual: Channels inside each residual block.
        layers: Number of residual blocks.
        upsampling: As in `upsampler`.
    """
    # The order in which the layers are built is that of the random draws of their weights.
    start = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
    stack = ResidualStack(channels, residual, layers)
    return nn.Sequential(start, stack, upsampler(channels, channels // 2, out, ratio, upsampling))


def upsampler(
    in_channels: int, channels: int, out_channels: int, ratio: int, upsampling: Upsampling = "transposed"
) -> nn.Sequential:
    """Builds a network that grows by `ratio` with layers that double the grid.

    Args:
        in_channels: Channels of the features.
        channels: Channels between the convolutions.
        out_channels: Channels of the result.
        ratio: As in the legend.
        upsampling: The kind of these layers.
    """
    halvings = ratio.bit_length() - 1
    widths = [in_channels, *[channels] * (halvings - 1), out_channels]
    parts: list[nn.Module] = []
    for i, o in pairwise(widths):
        parts += [upsampling_layer(upsampling, i, o), nn.ReLU()]
    # Without the last ReLU: pixels and latents may be negative.
    return nn.Sequential(*parts[:-1])
