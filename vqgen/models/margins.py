"""The margins of a VQ-VAE: the cells around a part of a picture that its codes, or its pixels, depend on.

A cell is a position of the coarsest level: `downsample[0]` pixels along each side. The margins follow from the kernels
and strides of the layers, and from the squares of the attentions. These begin at multiples of `alignment` cells, so a
margin is that of the cell of a square that reaches furthest.
"""

from collections.abc import Iterator

from torch import nn

from vqgen.models.vqvae import VQVAE
from vqgen.nn.receptive_field import Span, needed_inputs


def alignment(vqvae: VQVAE) -> int:
    """Returns the cells at whose multiples a part of a picture begins, so that it has the squares of the whole."""
    return vqvae.config.attended_side if vqvae.config.attention_heads else 1


def encoding_margin(vqvae: VQVAE) -> int:
    """Computes the cells around a cell that its codes of all levels depend on, in each direction."""
    size = vqvae.config.downsample[0]
    return max(
        _reach(span, place, size)
        for place in range(alignment(vqvae))
        for index, factor in enumerate(vqvae.config.downsample)
        for span in _pixels_of_latents(vqvae, index, _positions(place, size // factor))
    )


def latents_margin(vqvae: VQVAE, index: int) -> int:
    """Computes the cells around a cell that the latents of a level depend on if the codes of coarser levels are known.

    Args:
        vqvae: The VQ-VAE.
        index: The level, counted coarse to fine.
    """
    size = vqvae.config.downsample[0]
    margin = 0
    for place in range(alignment(vqvae)):
        span = pixels = _positions(place, size // vqvae.config.downsample[index])
        for encoder in vqvae.encoders[index:]:
            pixels = needed_inputs(encoder, pixels)
        margin = max(margin, _reach(pixels, place, size))
        # The networks between coarser codes and the latents, each with the level that it reads; against the pass.
        networks = [*vqvae.upsamplers[: max(0, index - 1)], *vqvae.expanders[max(0, index - 1) : index]]
        for level, network in reversed(list(enumerate(networks))):
            span = needed_inputs(network, span)
            margin = max(margin, _reach(span, place, size // vqvae.config.downsample[level]))
    return margin


def decoding_margin(vqvae: VQVAE) -> int:
    """Computes the cells around a cell whose codes of all levels its pixels depend on, in each direction."""
    size = vqvae.config.downsample[0]
    margin = 0
    for place in range(alignment(vqvae)):
        span = _positions(place, size)
        # The decoder and the upsamplers in the order against the pass, each with the level that it reads.
        networks = [vqvae.decoder, *reversed(vqvae.upsamplers)]
        for network, factor in zip(networks, reversed(vqvae.config.downsample), strict=True):
            span = needed_inputs(network, span)
            margin = max(margin, _reach(span, place, size // factor))
    return margin


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


def _positions(cell: int, count: int) -> Span:
    """Returns the positions of a cell in a grid, along one side.

    Args:
        cell: The cell.
        count: Positions in a cell.
    """
    return cell * count, (cell + 1) * count - 1


def _reach(span: Span, cell: int, count: int) -> int:
    """Returns the cells between a cell and the end of a span, in the direction in which it reaches further."""
    first, last = span
    return max(cell - first // count, last // count - cell)


def _part(networks: nn.ModuleList, index: int) -> nn.Module:
    return networks[index]
