"""A VQ-VAE whose layers at the finest grids run in bands.

These layers have the most features: in the model `photos` those between the pixels and the bottom grid take two thirds
of the memory of a pass. Without them a window of the same memory is larger, so less of it is margin.
"""

from copy import copy
from fractions import Fraction

from torch import nn

from vqgen.models.vqvae import VQVAE
from vqgen.nn.bands import InBands, split_growing, split_shrinking
from vqgen.nn.receptive_field import alive_features


def with_bands(vqvae: VQVAE, room: int) -> VQVAE:
    """Returns a VQ-VAE with the same weights that encodes and decodes large images in less memory.

    Args:
        vqvae: The VQ-VAE. Its weights and buffers are shared, not copied.
        room: Bytes that the features of a band may take, in float32.
    """
    config = vqvae.config
    shrinking, behind = split_shrinking(vqvae.encoders[-1])
    encoder = nn.Sequential(InBands(shrinking, config.image_channels, room), behind)
    before, growing = split_growing(vqvae.decoder)
    channels = alive_features(before, sum(config.latent_dims), Fraction(1)).channels
    banded = copy(vqvae)
    # A copy of a module shares its table of networks, so the table is copied, too.
    banded._modules = dict(vqvae._modules)
    banded.encoders = nn.ModuleList([*vqvae.encoders[:-1], encoder])
    banded.decoder = nn.Sequential(before, InBands(growing, channels, room))
    return banded
