"""The costs of layers, and of the stacks of layers that several models share; see `vqgen.planning.costs`.

Legend: `c` channels, `n` positions of a grid, `i o` channels in and out of a layer.
"""

from dataclasses import dataclass
from itertools import pairwise

from vqgen.config import AutoencoderConfig, Upsampling, VQVAEConfig

BACKWARD = 2
"""Cost of a backward pass, in forward passes: one product for the gradient of the inputs, one for the weights."""


@dataclass(frozen=True)
class Cost:
    """The cost of a forward pass of one image through a few layers.

    Attributes:
        flops: Operations, in FLOPs.
        kept: Floats of each image that a training step keeps for the backward pass. A tensor that several layers keep
            counts once.
        once: Floats that a training step keeps for any batch size: tensors computed from the weights.
    """

    flops: int = 0
    kept: int = 0
    once: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.kept + other.kept, self.once + other.once)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.flops * times, self.kept * times, self.once * times)


def total(parts: "list[Cost]") -> Cost:
    """Adds several costs."""
    return sum(parts, start=Cost())


def layer_cost(inputs: int, outputs: int, positions: int, *, taps: int = 1, kept: int | None = None) -> Cost:
    """Counts a convolution or a linear layer: `taps` weights for each pair of channels, at each position.

    The layer keeps its input, for the gradient of its weights.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        positions: Positions of the kernel: of the output, or of the input for a transposed convolution.
        taps: Entries of the kernel.
        kept: Floats of the input. None for `inputs` channels at each of the positions.
    """
    return Cost(2 * inputs * outputs * taps * positions, inputs * positions if kept is None else kept)


def encoder_cost(config: VQVAEConfig | AutoencoderConfig, inputs: int, n: int, ratio: int) -> Cost:
    """Counts an encoder: strided convolutions down to `n` positions, then residual blocks.

    Args:
        config: The model.
        inputs: Channels in.
        n: Positions of the output.
        ratio: Side of the input / side of the output, a power of two.
    """
    c = config.channels
    halvings = _halvings(ratio)
    widths = [inputs, c // 2, *[c] * (halvings - 1)]
    cost = layer_cost(widths[-1], c, n, taps=9)
    for index, (i, o) in enumerate(pairwise(widths)):
        positions = n * 4 ** (halvings - 1 - index)
        # The input of a strided convolution has four times the positions of its output.
        cost += layer_cost(i, o, positions, taps=16, kept=i * 4 * positions)
    return cost + residual_stack_cost(c, config.residual_channels, config.residual_layers, n)


def decoder_cost(
    config: VQVAEConfig | AutoencoderConfig,
    inputs: int,
    outputs: int,
    n: int,
    ratio: int,
    upsampling: Upsampling = "transposed",
) -> Cost:
    """Counts a decoder: residual blocks on `n` positions, then layers that double the grid.

    Args:
        config: The model.
        inputs: Channels in.
        outputs: Channels out.
        n: Positions of the input.
        ratio: Side of the output / side of the input, a power of two.
        upsampling: The kind of these layers.
    """
    c = config.channels
    stack = residual_stack_cost(c, config.residual_channels, config.residual_layers, n)
    return layer_cost(inputs, c, n, taps=9) + stack + upsampler_cost(c, c // 2, outputs, n, ratio, upsampling)


def upsampler_cost(
    inputs: int, channels: int, outputs: int, n: int, ratio: int, upsampling: Upsampling = "transposed"
) -> Cost:
    """Counts layers that double the grid, from `n` positions. Both kinds are transposed convolutions of 4 x 4.

    Args:
        inputs: Channels in.
        channels: Channels between the layers.
        outputs: Channels out.
        n: Positions of the input.
        ratio: Side of the output / side of the input, a power of two.
        upsampling: The kind. nearest computes its kernel from its weights in each step.
    """
    widths = [inputs, *[channels] * (_halvings(ratio) - 1), outputs]
    taps = 16
    return total(
        [
            layer_cost(i, o, n * 4**index, taps=taps) + Cost(once=taps * i * o if upsampling == "nearest" else 0)
            for index, (i, o) in enumerate(pairwise(widths))
        ]
    )


def residual_stack_cost(channels: int, inner: int, layers: int, n: int) -> Cost:
    """Counts residual blocks of a 3 x 3 and a 1 x 1 convolution. The next layer keeps the output of the last ReLU."""
    return (layer_cost(channels, inner, n, taps=9) + layer_cost(inner, channels, n)) * layers


def _halvings(ratio: int) -> int:
    return ratio.bit_length() - 1
