"""The grid arithmetic of convolutional networks: the inputs that outputs depend on, and the numbers alive at a time.

Only layers of square kernels are known, layers that look at one position, attention within squares, and blocks and
sequences of them; another layer may look at the whole grid, so it is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from vqgen.nn.channel_norm import ChannelNorm
from vqgen.nn.grid_attention import GridAttention
from vqgen.nn.residual import ResidualBlock
from vqgen.nn.residual_networks import PreActivationBlock
from vqgen.nn.upsampling import NearestConv2d

Span = tuple[int, int]
"""Positions along one side of a grid, from the first to the last one; both belong to it."""


_POINTWISE = (nn.ReLU, nn.SiLU, ChannelNorm)
"""Layers that look at one position."""

_BLOCKS = (ResidualBlock, PreActivationBlock)
"""Blocks that add their input to the output of their layers."""

_GROWING = (nn.ConvTranspose2d, NearestConv2d)


def needed_inputs(network: nn.Module, outputs: Span) -> Span:
    """Computes the positions of the input that a span of the output depends on, padding around the grid left out.

    Args:
        network: Convolutions, layers that double the grid, activations, norms, attentions, blocks, and sequences.
        outputs: Positions of the output, along one side. They may lie beyond the grid. Position 0 begins a square of
            the attentions.

    Raises:
        TypeError: The network has a layer of another kind.
    """
    first, last = outputs
    for layer in reversed(list(_layers(network))):
        if isinstance(layer, GridAttention):
            first, last = first // layer.side * layer.side, (last // layer.side + 1) * layer.side - 1
            continue
        kernel, stride, padding = _geometry(layer)
        if isinstance(layer, _GROWING):
            # Output o = stride * i - padding + tap, with a tap in [0, kernel): solved for i, rounded inwards.
            first, last = -(-(first + padding - kernel + 1) // stride), (last + padding) // stride
        else:
            first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def changes_grid(network: nn.Module) -> bool:
    """Returns True if a layer of the network shrinks or grows the grid."""
    return any(
        isinstance(layer, _GROWING) or (isinstance(layer, nn.Conv2d) and layer.stride[0] > 1)
        for layer in network.modules()
    )


@dataclass(frozen=True)
class Alive:
    """The features of a network during a pass without gradients, as numbers for each pixel of an image.

    Attributes:
        peak: Most numbers alive at a time, the input included.
        channels: Channels of the output.
        density: Positions of the output for each pixel.
    """

    peak: Fraction
    channels: int
    density: Fraction

    @property
    def output(self) -> Fraction:
        """Numbers of the output."""
        return self.channels * self.density


def alive_features(network: nn.Module, channels: int, density: Fraction) -> Alive:
    """Estimates the memory of a pass through a network.

    Args:
        network: As in `needed_inputs`.
        channels: Channels of the input.
        density: Positions of the input for each pixel of the image.
    """
    peak = channels * density
    for block in network if isinstance(network, nn.Sequential) else [network]:
        held = channels * density if isinstance(block, _BLOCKS) else Fraction(0)
        if isinstance(block, nn.Sequential):
            inner = alive_features(block, channels, density)
            peak, channels, density = max(peak, inner.peak), inner.channels, inner.density
            continue
        for layer in _layers(block):
            before = channels * density
            if isinstance(layer, GridAttention):
                # The input twice, queries, keys and values in two orders, and so the attended values.
                peak = max(peak, 10 * before)
                continue
            if isinstance(layer, (nn.Conv2d, *_GROWING)):
                channels = layer.out_channels
                density *= 4 if isinstance(layer, _GROWING) else Fraction(1, layer.stride[0] ** 2)
            # Twice: the convolution's library may copy both into its own order, and a ReLU is not in place.
            peak = max(peak, held + 2 * (before + channels * density))
    return Alive(peak, channels, density)


def _layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yields the layers with a kernel, and attentions, in the order of the forward pass: that of their registration."""
    if isinstance(network, (nn.Conv2d, GridAttention, *_GROWING)):
        yield network
    elif isinstance(network, (nn.Sequential, *_BLOCKS)):
        for part in network.children():
            yield from _layers(part)
    elif not isinstance(network, _POINTWISE):
        raise TypeError(
            f"the layers should be convolutions, attentions and pointwise ones, found {type(network).__name__}"
        )


def _geometry(layer: nn.Module) -> tuple[int, int, int]:
    """Returns kernel, stride and padding."""
    if isinstance(layer, NearestConv2d):
        return 4, 2, 1  # of the transposed convolution that it is
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    padding = layer.padding[0]
    assert isinstance(padding, int)  # "same" and "valid" are not used
    return layer.kernel_size[0], layer.stride[0], padding
