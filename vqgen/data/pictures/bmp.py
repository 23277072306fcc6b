"""BMP: the parts of the header that Pillow passes over.

Source: Microsoft, BITMAPV5HEADER.
"""

import struct
from io import BufferedIOBase

from PIL import Image

from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import open_with_pillow
from vqgen.data.pictures.profiles import MAX_PROFILE_BYTES

_FILE_HEADER = 14
_V5_BYTES = 124
_PLACE_OF_SPACE = 56
_PLACE_OF_PROFILE = 112
_EMBEDDED = b"DEBM"  # "MBED" as a number, lowest byte first

_RAW_BITS = {"BGR;15": (5, 5, 5), "BGR;16": (5, 6, 5)}
"""Raw mode of Pillow -> bits of red, green and blue."""


def decode_bmp(file: BufferedIOBase) -> Decoded:
    """Decodes a BMP file.

    Raises:
        DataError: It is damaged, or of a kind that is not read.
        Exception: Whatever Pillow raises.
    """
    profile = _profile(file)
    with open_with_pillow(file) as image:
        arguments = image.tile[0][3] if image.tile else None
        raw_mode = arguments[0] if isinstance(arguments, tuple) else arguments
        image.load()
        bits = _RAW_BITS.get(str(raw_mode)) if image.mode == "RGB" else None
        return Decoded(image if bits is None else _rounded(image, bits), profile)


def _rounded(image: Image.Image, bits: tuple[int, ...]) -> Image.Image:
    """Rounds samples of 5 and 6 bits to the nearest of 8 bits: Pillow cuts them."""
    table: list[int] = []
    for each in bits:
        high = (1 << each) - 1
        nearest = {value * 255 // high: (value * 510 + high) // (2 * high) for value in range(high + 1)}
        table += [nearest.get(cut, cut) for cut in range(256)]
    return image.point(table)


def _profile(file: BufferedIOBase) -> bytes | None:
    """Returns the embedded profile of a header of version 5; None without one."""
    file.seek(_FILE_HEADER)
    header = file.read(_V5_BYTES)
    if len(header) < _V5_BYTES or struct.unpack("<I", header[:4])[0] != _V5_BYTES:
        return None
    if header[_PLACE_OF_SPACE : _PLACE_OF_SPACE + 4] != _EMBEDDED:
        return None
    offset, size = struct.unpack_from("<II", header, _PLACE_OF_PROFILE)
    if not 0 < size <= MAX_PROFILE_BYTES:
        return None
    file.seek(_FILE_HEADER + offset)
    return file.read(size)
