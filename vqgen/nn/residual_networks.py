"""Networks of the architecture "residual", which shrink an image to a grid of features and grow it again.

Norm and SiLU stand before each convolution of a residual block, so that the sum of the blocks passes unchanged from the
first to the last one.

Legend: `b` batch, `c` channels, `h w` grid. A `factor` is the side of the image divided by the side of a grid.

Paper: pre-activation blocks, He et al. 2016, arXiv 1603.05027; in the networks of VQGAN, Esser et al. 2021, arXiv
2012.09841. Deviations: `ChannelNorm` in place of a group norm; blocks on the grids of the levels only, so that an image
costs about as much as in the network of the paper; strided convolutions of 4 x 4, as there.
"""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.config import VQVAEConfig
from vqgen.nn.channel_norm import ChannelNorm
from vqgen.nn.grid_attention import GridAttention
from vqgen.nn.upsampling import upsampling_layer


class PreActivationBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions: x + conv(silu(norm(conv(silu(norm(x)))))).

    Args:
        channels: Channels of input and output.
        residual_channels: Channels between the two convolutions.
    """

    def __init__(self, channels: int, residual_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ChannelNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, residual_channels, kernel_size=3, padding=1),
            ChannelNorm(residual_channels),
            nn.SiLU(),
            nn.Conv2d(residual_channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Applies the block."""
        return features + self.layers(features)


def shrinking_network(config: VQVAEConfig, finer: int, coarser: int) -> nn.Sequential:
    """Builds the encoder of a level: strided convolutions, then residual blocks.

    Args:
        config: The VQ-VAE.
        finer: Factor of the input; 1 for the image.
        coarser: Factor of the output, the level's.
    """
    channels = config.image_channels if finer == 1 else config.channels_of(finer)
    parts: list[nn.Module] = []
    factor = finer
    while factor < coarser:
        # The features of a finer level end in an activation, and an image has none.
        parts += [nn.SiLU()] if factor > finer else []
        factor *= 2
        parts.append(nn.Conv2d(channels, config.channels_of(factor), kernel_size=4, stride=2, padding=1))
        channels = config.channels_of(factor)
    return nn.Sequential(*parts, *_blocks(config, coarser), ChannelNorm(channels), nn.SiLU())


def growing_network(
    config: VQVAEConfig, inputs: int, outputs: int, coarser: int, finer: int, *, layers: int | None = None
) -> nn.Sequential:
    """Builds a decoder: residual blocks, then layers that double the grid.

    Args:
        config: The VQ-VAE.
        inputs: Channels of the input.
        outputs: Channels of the output.
        coarser: Factor of the input, a level's.
        finer: Factor of the output; 1 for the image.
        layers: Number of residual blocks; None for the number of the configuration.
    """
    parts: list[nn.Module] = [nn.Conv2d(inputs, config.channels_of(coarser), kernel_size=3, padding=1)]
    parts += [*_blocks(config, coarser, layers), ChannelNorm(config.channels_of(coarser))]
    factor = coarser
    while factor > finer:
        channels = config.channels_of(factor)
        factor //= 2
        following = outputs if factor == finer else config.channels_of(factor)
        parts += [nn.SiLU(), upsampling_layer(config.upsampling, channels, following)]
    return nn.Sequential(*parts)


def _blocks(config: VQVAEConfig, factor: int, layers: int | None = None) -> Iterator[nn.Module]:
    """Yields the residual blocks of a grid, and at the end the attention if the grid is the coarsest one."""
    channels = config.channels_of(factor)
    for _ in range(config.residual_layers if layers is None else layers):
        yield PreActivationBlock(channels, config.residual_channels_of(factor))
    if config.attention_heads and factor == config.downsample[0]:
        yield GridAttention(channels, config.attention_heads, config.attended_side)
