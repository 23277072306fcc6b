"""Linear maps beside the networks of a VQ-VAE: from squares of pixels to latents, and from quantized maps to pixels.

They begin as a cosine transform of the squares. So the VQ-VAE begins as a codec of blocks, and its networks learn what
blocks cannot say.

Legend: `b` batch, `d` embedding, `c` channels of the image, `H W` image, `_h _w` grid of a level, `s` side of a square.
Source: shortcuts from space to channels, DC-AE (Chen et al. 2024, arXiv 2410.10733), section 3.1. Deviation: they are
learned, and begin as the discrete cosine transform (Ahmed, Natarajan and Rao 1974, IEEE Transactions on Computers).
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from vqgen.config import VQVAEConfig

_COLOUR_RANK = 6.0
"""A frequency of a colour difference ranks like one of brightness with so many times the square: photographs have
about as little power there."""


class Shortcuts(nn.Module):
    """The linear maps of all levels. Lists run coarse to fine.

        pixels - those that coarser maps draw --> analysis of a level --> added to its latents
        quantized map of a level --> synthesis --> added to the pixels

    Args:
        config: The VQ-VAE.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        c = config.image_channels
        levels = list(zip(config.latent_dims, config.downsample, strict=True))
        self.analysis = nn.ModuleList(nn.Conv2d(c, d, s, stride=s, bias=False) for d, s in levels)
        self.synthesis = nn.ModuleList(nn.ConvTranspose2d(d, c, s, stride=s, bias=False) for d, s in levels)
        for layer in (*self.analysis, *self.synthesis):
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            d, _, s, _ = layer.weight.shape
            # In place, as all arithmetic of a model that is built without memory: see `models.checkpoint`.
            layer.weight.data.copy_(torch.from_numpy(cosine_basis(d, c, s)))

    def latents(
        self, level: int, images: Float[Tensor, "b c H W"], coarser: Sequence[Float[Tensor, "b _d _h _w"]]
    ) -> Float[Tensor, "b d _h _w"]:
        """Computes what is added to the latents of a level.

        Args:
            level: The level, counted coarse to fine.
            images: Pixels in [-1, 1].
            coarser: The quantized maps of all coarser levels.
        """
        # In place: as many pixels once more would be the largest tensor of a pass.
        left = self.pixels(coarser).neg_().add_(images) if coarser else images
        return self.analysis[level](left)

    def pixels(self, maps: Sequence[Float[Tensor, "b _d _h _w"]]) -> Float[Tensor, "b c H W"]:
        """Computes what is added to the image: the sum over the maps of some levels, beginning with the coarsest."""
        parts = (layer(each) for layer, each in zip(self.synthesis, maps, strict=False))
        # One by one, and not of a stack of all, for the same reason.
        return reduce(torch.add, parts)


def cosine_basis(count: int, channels: int, side: int) -> NDArray[np.float64]:
    """Returns the first vectors of an orthonormal basis of squares: cosines, from low to high frequencies.

    Args:
        count: Vectors. Those beyond `channels * side^2` are 0.
        channels: 1, or 3 for RGB, which is turned into brightness and two differences of colours.
        side: Side of a square, in pixels.

    Returns:
        `(count, channels, side, side)`.
    """
    places = np.arange(side)
    cosines = np.cos(np.pi / side * (places + 0.5) * places[:, None]) * np.sqrt(2 / side)  # (frequency, place)
    cosines[0] /= np.sqrt(2)
    colours = np.array([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]]) if channels == 3 else np.ones((1, 1))
    colours /= np.linalg.norm(colours, axis=1, keepdims=True)
    squares = places[:, None] ** 2 + places**2 + 1
    ranks = np.stack([squares * (_COLOUR_RANK if colour else 1.0) for colour in range(channels)])
    basis = np.zeros((count, channels, side, side))
    for index, chosen in enumerate(ranks.ravel().argsort(kind="stable")[:count].tolist()):
        colour, down, across = np.unravel_index(chosen, ranks.shape)
        basis[index] = colours[colour][:, None, None] * cosines[down][:, None] * cosines[across]
    return basis


def clear_last_layer(network: nn.Module) -> None:
    """Sets the last convolution of a network to 0, so that the network begins with nothing to add."""
    *_, last = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
