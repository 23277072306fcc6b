"""Convolutions that shrink an image to a grid of features, and grow it again.

Legend: `ratio` how often a side of the result goes into a side of the input, or the other way round; a power of two.
"""

from itertools import pairwise

from torch import nn

from vqgen.nn.residual import ResidualStack


def encoder_network(in_channels: int, channels: int, ratio: int, residual_channels: int, layers: int) -> nn.Sequential:
    """Shrinks by `ratio` with strided convolutions, then refines with residual blocks."""
    halvings = ratio.bit_length() - 1
    widths = [in_channels, channels // 2, *[channels] * (halvings - 1)]
    parts: list[nn.Module] = []
    for i, o in pairwise(widths):
        parts += [nn.Conv2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    parts.append(nn.Conv2d(widths[-1], channels, kernel_size=3, padding=1))
    return nn.Sequential(*parts, ResidualStack(channels, residual_channels, layers))


def decoder_network(in_channels: int, channels: int, out: int, ratio: int, residual: int, layers: int) -> nn.Sequential:
    """Refines with residual blocks, then grows by `ratio` with transposed convolutions."""
    start = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
    return nn.Sequential(
        start, ResidualStack(channels, residual, layers), upsampler(channels, channels // 2, out, ratio)
    )


def upsampler(in_channels: int, channels: int, out_channels: int, ratio: int) -> nn.Sequential:
    """Grows by `ratio` with transposed convolutions."""
    halvings = ratio.bit_length() - 1
    widths = [in_channels, *[channels] * (halvings - 1), out_channels]
    parts: list[nn.Module] = []
    for i, o in pairwise(widths):
        parts += [nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts[:-1])
