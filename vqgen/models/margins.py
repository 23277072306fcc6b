"""The margins of a VQ-VAE: the cells around a part of a picture that its codes, or its pixels, depend on.

A cell is a position of the coarsest level: `downsample[0]` pixels along each side. Every layer is a convolution, so the
margins follow from the kernels and strides alone.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from vqgen.models.vqvae import VQVAE
from vqgen.nn.receptive_field import Span, needed_inputs


def encoding_margin(vqvae: VQVAE) -> int:
    """Computes the cells around a cell that its codes of all levels depend on, in each direction."""
    cell = vqvae.config.downsample[0]
    pixels = (
        span
        for index, factor in enumerate(vqvae.config.downsample)
        for span in _pixels_of_latents(vqvae, index, (0, cell // factor - 1))
    )
    return _cells(pixels, cell)


def decoding_margin(vqvae: VQVAE) -> int:
    """Computes the cells around a cell whose codes of all levels its pixels depend on, in each direction."""
    cell = vqvae.config.downsample[0]
    span = (0, cell - 1)
    margins = []
    # The decoder and the upsamplers in the order against the pass, each with the level that it reads.
    networks = [vqvae.decoder, *reversed(vqvae.upsamplers)]
    for network, factor in zip(networks, reversed(vqvae.config.downsample), strict=True):
        span = needed_inputs(network, span)
        margins.append(_cells([span], cell // factor))
    return max(margins)


def _pixels_of_latents(vqvae: VQVAE, index: int, span: Span) -> Iterator[Span]:
    """Yields spans of pixels, in any order, that the latents of a level depend on."""
    pixels = span
    for encoder in vqvae.encoders[index:]:
        pixels = needed_inputs(encoder, pixels)
    yield pixels
    if index > 0:
        yield from _pixels_of_map(vqvae, index - 1, needed_inputs(_part(vqvae.expanders, index - 1), span))


def _pixels_of_map(vqvae: VQVAE, index: int, span: Span) -> Iterator[Span]:
    """Yields spans of pixels that the decoder input of a level depends on: the latents of it and of coarser levels."""
    yield from _pixels_of_latents(vqvae, index, span)
    if index > 0:
        yield from _pixels_of_map(vqvae, index - 1, needed_inputs(_part(vqvae.upsamplers, index - 1), span))


def _cells(spans: Iterable[Span], positions: int) -> int:
    """Returns the cells beyond cell 0 that spans reach into, in the direction in which they reach further.

    Args:
        spans: Positions along one side.
        positions: Positions in a cell.
    """
    return max(max(-(first // positions), last // positions) for first, last in spans)


def _part(networks: nn.ModuleList, index: int) -> nn.Module:
    return networks[index]
