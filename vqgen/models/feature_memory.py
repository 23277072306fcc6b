"""The memory of a VQ-VAE's features in a pass without gradients, estimated from its layers.

The estimate is for float32 and counts tensors that are alive at a time, with room for the copies that a library of
convolutions makes. It is a number for each pixel: no layer needs more on a larger picture.
"""

from fractions import Fraction

from torch import nn

from vqgen.models.vqvae import VQVAE
from vqgen.nn.bands import split_growing, split_shrinking
from vqgen.nn.receptive_field import alive_features

_BYTES = 4

_COPIES_OF_LATENTS = 6
"""Latents, the same in rows, their entries twice, and their int64 codes and distances."""

_COPIES_OF_PIXELS = 4
"""Steps between uint8 and [-1, 1], each of which makes a new tensor."""


def bytes_per_pixel(vqvae: VQVAE, *, in_bands: bool = False) -> int:
    """Estimates the bytes that encoding or decoding takes for each pixel of an image, whichever takes more.

    Args:
        vqvae: The model.
        in_bands: Leaves out the features that `with_bands` computes in bands.
    """
    return int(_BYTES * max(_encoding(vqvae, in_bands), _decoding(vqvae, in_bands))) + 1


def _encoding(vqvae: VQVAE, in_bands: bool) -> Fraction:
    """Returns the numbers for each pixel that encoding holds at a time."""
    config = vqvae.config
    channels, density = config.image_channels, Fraction(1)
    held = Fraction(channels)
    peak = held * _COPIES_OF_PIXELS
    for encoder in reversed(vqvae.encoders):
        network: nn.Module = encoder
        if in_bands and encoder is vqvae.encoders[-1]:
            first, network = split_shrinking(encoder)
            passed = alive_features(first, channels, density)
            channels, density = passed.channels, passed.density
        passed = alive_features(network, channels, density)
        peak = max(peak, held + passed.peak)
        # The features of every level stay: they wait for the codes of the coarser ones.
        held += passed.output
        channels, density = passed.channels, passed.density
    for index, factor in enumerate(config.downsample):
        density = Fraction(1, factor**2)
        peak = max(peak, held + _COPIES_OF_LATENTS * config.latent_dims[index] * density)
        if index > 0:
            before = Fraction(1, config.downsample[index - 1] ** 2)
            passed = alive_features(vqvae.expanders[index - 1], sum(config.latent_dims[:index]), before)
            # The features of the level are joined to those of the expander.
            peak = max(peak, held + passed.peak, held + 4 * passed.output)
    return peak + _maps(vqvae)


def _decoding(vqvae: VQVAE, in_bands: bool) -> Fraction:
    """Returns the numbers for each pixel that decoding holds at a time."""
    config = vqvae.config
    density = Fraction(1, config.downsample[-1] ** 2)
    network = split_growing(vqvae.decoder)[0] if in_bands else vqvae.decoder
    passed = alive_features(network, sum(config.latent_dims), density)
    return _maps(vqvae) + max(passed.peak, Fraction(_COPIES_OF_PIXELS * config.image_channels))


def _maps(vqvae: VQVAE) -> Fraction:
    """Returns the numbers for each pixel of the quantized maps of all levels, and of the decoder inputs from them."""
    dims = vqvae.config.latent_dims
    numbers = [
        # The latents and the map of the level, and the decoder input, which holds the maps of all levels up to it.
        Fraction(dim + 2 * sum(dims[: index + 1]), factor**2)
        for index, (dim, factor) in enumerate(zip(dims, vqvae.config.downsample, strict=True))
    ]
    return sum(numbers, start=Fraction(0))
