"""The network of the adversary: it judges each patch of an image.

Legend: `b` batch, `c` channels, `H W` image, `h w` grid of patches.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.config import LossSettings

NORM_GROUPS = 8
"""Groups of each norm; they divide the channels of every layer."""

_MOST_WIDER = 8
"""Largest width of a layer, as a multiple of the first."""

_SLOPE = 0.2
"""Slope of the activation below zero."""


class PatchDiscriminator(nn.Module):
    """Judges patches: a number for each position of the last grid, large for those of real images.

        image --> halved `layers` times, with twice the channels each time --> convolution --> one number a position

    No layer depends on other images of the batch: with a batch norm, 1 process and n would train different networks.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the first layer, a multiple of 8.
        layers: Halvings.
        is_normalized: True for a group norm in each layer but the first and the last.

    Source: Isola et al. 2016, arXiv 1611.07004, section 6.1.2. Deviations: a group norm or none in place of the batch
    norm, and kernels of 3 at stride 1, which keep the grid of small images.
    """

    def __init__(self, in_channels: int, channels: int, layers: int, *, is_normalized: bool) -> None:
        super().__init__()
        widths = [channels * min(2**layer, _MOST_WIDER) for layer in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(in_channels, channels, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        for layer, (i, o) in enumerate(pairwise(widths), 2):
            kernel, stride = (4, 2) if layer <= layers else (3, 1)
            norm = [nn.GroupNorm(NORM_GROUPS, o)] if is_normalized else []
            parts += [nn.Conv2d(i, o, kernel, stride, padding=1), *norm, nn.LeakyReLU(_SLOPE)]
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1))
        for module in self.body:
            if isinstance(module, nn.Conv2d):
                # Radford et al. 2015, arXiv 1511.06434, section 3. First judgements are far below the margin.
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]  # these convolutions have one

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b 1 h w"]:
        """Judges the patches of images with pixels in [-1, 1]."""
        return self.body(images)


def make_discriminator(settings: LossSettings, image_channels: int) -> PatchDiscriminator:
    """Builds the discriminator that the losses describe.

    Args:
        settings: The losses.
        image_channels: Channels of the images.
    """
    is_normalized = settings.discriminator_norm == "group"
    widths = (settings.discriminator_channels, settings.discriminator_layers)
    return PatchDiscriminator(image_channels, *widths, is_normalized=is_normalized)
