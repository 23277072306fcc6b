"""The grid arithmetic of convolutional networks: the inputs that outputs depend on, and the numbers alive at a time.

Only layers of square kernels are known, and blocks and sequences of them; another layer may look at the whole grid, so
it is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from vqgen.nn.residual import ResidualBlock

Span = tuple[int, int]
"""Positions along one side of a grid, from the first to the last one; both belong to it."""


def needed_inputs(network: nn.Module, outputs: Span) -> Span:
    """Computes the positions of the input that a span of the output depends on, padding around the grid left out.

    Args:
        network: Convolutions, transposed convolutions, ReLUs, residual blocks, and sequences of them.
        outputs: Positions of the output, along one side. They may lie beyond the grid.

    Raises:
        TypeError: The network has a layer of another kind.
    """
    first, last = outputs
    for layer in reversed(list(_layers(network))):
        kernel, stride, padding = _geometry(layer)
        if isinstance(layer, nn.ConvTranspose2d):
            # Output o = stride * i - padding + tap, with a tap in [0, kernel): solved for i, rounded inwards.
            first, last = -(-(first + padding - kernel + 1) // stride), (last + padding) // stride
        else:
            first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


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
        held = channels * density if isinstance(block, ResidualBlock) else Fraction(0)
        if isinstance(block, nn.Sequential):
            inner = alive_features(block, channels, density)
            peak, channels, density = max(peak, inner.peak), inner.channels, inner.density
            continue
        for layer in _layers(block):
            before = channels * density
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                factor = Fraction(1, layer.stride[0] ** 2)
                channels, density = (
                    layer.out_channels,
                    density * (factor if isinstance(layer, nn.Conv2d) else 1 / factor),
                )
            # Twice: the convolution's library may copy both into its own order, and a ReLU is not in place.
            peak = max(peak, held + 2 * (before + channels * density))
    return Alive(peak, channels, density)


def _layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yields the layers in the order of the forward pass, which is the order of their registration."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            yield layer
        elif not isinstance(layer, (nn.Sequential, ResidualBlock, nn.ReLU)):
            raise TypeError(f"the layers should be convolutions and ReLUs, found {type(layer).__name__}")


def _geometry(layer: nn.Module) -> tuple[int, int, int]:
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    padding = layer.padding[0]
    assert isinstance(padding, int)  # "same" and "valid" are not used
    return layer.kernel_size[0], layer.stride[0], padding
