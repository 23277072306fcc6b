"""The decoding of a picture file by its content, whatever its name says."""

from io import BufferedIOBase

import numpy as np
from PIL import Image, ImageFile

from vqgen.data.pictures.bmp import decode_bmp
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import HEAD_BYTES, open_with_pillow, recognize
from vqgen.data.pictures.netpbm import decode_netpbm
from vqgen.data.pictures.orientation import orientation_of
from vqgen.data.pictures.png import decode_png
from vqgen.data.pictures.samples import Samples
from vqgen.data.pictures.tiff import decode_tiff, loaded_samples

_DECODERS = {
    "PNG": decode_png,
    "TIFF": decode_tiff,
    "BigTIFF": decode_tiff,
    "BMP": decode_bmp,
    "PNM": decode_netpbm,
}
"""Name of a format -> its decoder; Pillow decodes the rest alone."""

_OWN_FORMATS = ("PNG", "TIFF", "BMP", "PPM")
"""The names that Pillow gives to the same formats."""

_FORMATS_WITH_16_BITS_IN_I = ("PNG", "PPM")
"""Pillow before 11 opens 16-bit files of these formats in mode "I". In other formats that mode defines no range."""


def decode_file(file: BufferedIOBase) -> Decoded:
    """Decodes a picture; of an animation or of several pages the first one.

    Raises:
        DataError: Its format is not read here, or it is damaged.
        Exception: Whatever a decoder raises.
    """
    found = recognize(file.read(HEAD_BYTES))
    decode = _DECODERS.get(found.name) if found else None
    if decode is not None:
        return decode(file)
    with open_with_pillow(file) as image:
        return _taken_apart(image)


def decode_picture(image: Image.Image) -> Decoded:
    """Decodes a picture of Pillow, which is not changed. An opened file that is not loaded yet is decoded by content.

    Pillow cuts some samples when it loads them, and forgets the meaning of others.
    """
    file = getattr(image, "fp", None)
    is_opened = isinstance(image, ImageFile.ImageFile) and bool(image.tile) and image.tell() == 0
    if is_opened and isinstance(file, BufferedIOBase) and file.seekable() and image.format in _OWN_FORMATS:
        position = file.tell()
        try:
            file.seek(0)
            return decode_file(file)
        finally:
            file.seek(position)  # where Pillow left off
    return _taken_apart(image)


def _taken_apart(image: Image.Image) -> Decoded:
    image.load()  # before the orientation is read: loading a TIFF turns it upright
    profile = image.info.get("icc_profile")
    pixels = _samples(image)
    is_of_file = image.format is not None
    return Decoded(image if pixels is None else pixels, profile, orientation_of(image), is_of_file)


def _samples(image: Image.Image) -> Samples | None:
    """Returns the samples of a picture of more than 8 bits; None for 8 bits."""
    has_16_bits = image.mode == "I" and image.format in _FORMATS_WITH_16_BITS_IN_I
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return None
    values = np.asarray(image)[..., None]
    if image.mode in ("I", "F") and not has_16_bits:
        return Samples(values, "float32" if image.mode == "F" else "int32", None)
    bits, is_inverted = loaded_samples(image)
    high = (1 << bits) - 1
    return Samples(values.astype(np.uint16), f"{bits}-bit", (0, high), is_inverted=is_inverted)
