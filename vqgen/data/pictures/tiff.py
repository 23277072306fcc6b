"""TIFF: samples of every depth, format and interpretation."""

from contextlib import suppress
from importlib import import_module
from io import BufferedIOBase

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import open_with_pillow
from vqgen.data.pictures.orientation import orientation_of
from vqgen.data.pictures.reading import Reading
from vqgen.data.pictures.samples import Samples, to_picture
from vqgen.data.pictures.tiff_blocks import is_readable, read_samples
from vqgen.data.pictures.tiff_tags import (
    CMYK,
    FLOAT,
    GREY_INVERTED,
    PALETTE,
    SIGNED,
    Layout,
    read_layout,
)
from vqgen.data.pictures.tiff_ycbcr import with_packed_ycbcr
from vqgen.errors import DataError

_MOST_DEFINED = 16
"""Samples of more bits have no range of their own: 32 bits hold measurements, and hardly ever all values."""


def decode_tiff(file: BufferedIOBase) -> Decoded:
    """Decodes the first picture of a TIFF file.

    Raises:
        DataError: It is damaged, or of a kind that is not read.
        Exception: Whatever Pillow raises.
    """
    layout = read_layout(file)
    if isinstance(layout, str):
        try:
            return _by_pillow(with_packed_ycbcr(file))
        except DataError as error:
            raise DataError(f"a TIFF of {layout} is not read; convert it to RGB or grey") from error
    if layout.is_plain and not is_readable(layout):
        return _by_pillow(file)
    if not is_readable(layout):
        return _interpreted(_by_extra(file, layout), layout)
    try:
        return _interpreted(read_samples(file, layout), layout)
    except DataError:
        if not layout.is_plain:
            raise
        with suppress(Exception):  # Pillow is lenient with damaged tags
            return _by_pillow(file)
        raise


def loaded_samples(image: Image.Image) -> tuple[int, bool]:
    """Returns the bits of the samples of a 16-bit picture that Pillow loaded from a TIFF, and True if zero is white.

    A picture of another origin has 16 bits, and zero is black.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16, False
    bits = image.tag_v2.get(258, (16,))
    bits = bits[0] if isinstance(bits, tuple) else bits
    return int(bits), image.tag_v2.get(262) == GREY_INVERTED


def _by_pillow(file: BufferedIOBase) -> Decoded:
    with open_with_pillow(file) as image:
        # Before the orientation is read: loading a TIFF turns it upright.
        image.load()
        return Decoded(image, image.info.get("icc_profile"), orientation_of(image))


def _by_extra(file: BufferedIOBase, layout: Layout) -> NDArray:
    """Reads the samples with tifffile and imagecodecs.

    Raises:
        DataError: They are not installed, or do not know this kind either.
    """
    kind = f"{_kind(layout)} samples in compression {layout.compression}"
    try:
        tifffile = import_module("tifffile")
        import_module("imagecodecs")
    except ImportError as error:
        raise DataError(f"a TIFF with {kind} is not read here; pip install 'vqgen[tiff]' reads it") from error
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as opened:
            values = np.asarray(opened.pages[0].asarray())
    except Exception as error:  # decoders of damaged files raise almost anything
        raise DataError(f"a TIFF with {kind} cannot be read: {error}") from error
    if layout.is_planar and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    return values.reshape(layout.height, layout.width, layout.samples)


def _interpreted(values: NDArray, layout: Layout) -> Decoded:
    """Returns the samples with their meaning.

    Raises:
        DataError: They are not real numbers, or do not fit the interpretation.
    """
    if values.dtype.kind not in "uif":
        raise DataError(f"samples should be real numbers, found {values.dtype}")
    high = (1 << layout.bits) - 1
    has_range = values.dtype.kind == "u" and layout.bits <= _MOST_DEFINED
    if layout.photometric == PALETTE:
        return Decoded(_from_palette(values[..., 0], layout), layout.profile, layout.orientation)
    index = layout.alpha_index
    alpha = None if index is None else values[..., index]
    samples = Samples(
        values[..., : layout.colours],
        _kind(layout),
        (0, high) if has_range else None,
        is_inverted=layout.photometric == GREY_INVERTED,
        alpha=alpha,
        # Opacity has a range in every format: numbers up to 1, or the greatest integer.
        alpha_high=1 if values.dtype.kind == "f" else high >> 1 if values.dtype.kind == "i" else high,
        is_associated=layout.is_associated,
    )
    if layout.photometric == CMYK:
        return Decoded(_inks(samples), layout.profile, layout.orientation)
    return Decoded(samples, layout.profile, layout.orientation)


def _inks(samples: Samples) -> Image.Image:
    """Returns a picture of mode `CMYK`. Extra samples of inks are left out."""
    if samples.own_range is None:
        raise DataError(f"amounts of ink should be unsigned numbers of at most 16 bits, found {samples.kind}")
    planes = [
        to_picture(Samples(samples.values[..., ink : ink + 1], samples.kind, samples.own_range), Reading())
        for ink in range(4)
    ]
    return Image.merge("CMYK", planes)


def _from_palette(indices: NDArray, layout: Layout) -> Samples:
    """Returns the colours of a palette, which have 16 bits."""
    size = 1 << layout.bits
    if indices.dtype.kind != "u" or layout.bits > _MOST_DEFINED or len(layout.colour_map) != 3 * size:
        raise DataError(f"a palette should have 3 x {size} colours of unsigned indices, found {len(layout.colour_map)}")
    colours = np.array(layout.colour_map, np.uint16).reshape(3, size).T
    return Samples(colours[indices], "16-bit", (0, 65535))


def _kind(layout: Layout) -> str:
    name = {FLOAT: "float", SIGNED: "int"}.get(layout.sample_format)
    return f"{layout.bits}-bit" if name is None else f"{name}{layout.bits}"
