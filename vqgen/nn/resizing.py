"""Networks that shrink an image to a grid of features, and networks that grow it again.

Legend: `ratio` the side of the larger grid divided by the side of the smaller grid, a power of two, at least 2.
"""

from itertools import pairwise

from torch import nn

from vqgen.nn.residual import ResidualStack


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


def decoder_network(in_channels: int, channels: int, out: int, ratio: int, residual: int, layers: int) -> nn.Sequential:
    """Builds a network that refines with residual blocks, then grows by `ratio` with transposed convolutions.

    Args:
        in_channels: Channels of the features.
        channels: Channels of the residual blocks.
        out: Channels of the result.
        ratio: As in the legend.
        residual: Channels inside each residual block.
        layers: Number of residual blocks.
    """
    start = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
    return nn.Sequential(
        start, ResidualStack(channels, residual, layers), upsampler(channels, channels // 2, out, ratio)
    )


def upsampler(in_channels: int, channels: int, out_channels: int, ratio: int) -> nn.Sequential:
    """Builds a network that grows by `ratio` with transposed convolutions.

    Args:
        in_channels: Channels of the features.
        channels: Channels between the convolutions.
        out_channels: Channels of the result.
        ratio: As in the legend.
    """
    halvings = ratio.bit_length() - 1
    widths = [in_channels, *[channels] * (halvings - 1), out_channels]
    parts: list[nn.Module] = []
    for i, o in pairwise(widths):
        parts += [nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    # Without the last ReLU: pixels and latents may be negative.
    return nn.Sequential(*parts[:-1])
