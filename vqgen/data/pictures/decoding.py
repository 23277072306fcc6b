"""The decoding of a picture file by its content, whatever its name says."""

from io import BufferedIOBase

from PIL import Image, ImageFile

from vqgen.data.pictures.bmp import decode_bmp
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import HEAD_BYTES, open_with_pillow, recognize
from vqgen.data.pictures.jpeg import decode_jpeg
from vqgen.data.pictures.loaded import taken_apart
from vqgen.data.pictures.netpbm import decode_netpbm
from vqgen.data.pictures.png import decode_png
from vqgen.data.pictures.tiff import decode_tiff

_DECODERS = {
    "PNG": decode_png,
    "TIFF": decode_tiff,
    "BigTIFF": decode_tiff,
    "BMP": decode_bmp,
    "JPEG": decode_jpeg,
    "PNM": decode_netpbm,
}
"""Name of a format -> its decoder; Pillow decodes the rest alone."""

_OWN_FORMATS = ("PNG", "TIFF", "BMP", "PPM")
"""The names that Pillow gives to the same formats."""


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
        return taken_apart(image)


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
    return taken_apart(image)
