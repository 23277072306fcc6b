"""The size of a picture by its header: known before memory is taken for its pixels."""

import struct
from io import BufferedIOBase

from vqgen.data.pictures.formats import HEAD_BYTES, open_with_pillow, recognize
from vqgen.data.pictures.netpbm import size_of_netpbm
from vqgen.data.pictures.tiff_directory import read_directory
from vqgen.errors import DataError

_WIDTH, _HEIGHT = 256, 257  # tags of TIFF
_PNG_HEADER = 24


def size_of_file(file: BufferedIOBase) -> tuple[int, int]:
    """Returns the width and the height of the first picture of a file as it is stored; no pixel is decoded.

    Raises:
        DataError: The format is not read here, or the header is damaged.
        Exception: Whatever a decoder raises.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    found = recognize(head)
    name = found.name if found else ""
    # These formats have decoders here that read more kinds than Pillow, which opens only the kinds that it decodes.
    if name == "PNG":
        if len(head) < _PNG_HEADER or head[12:16] != b"IHDR":
            raise DataError("the PNG should begin with its header IHDR, found another chunk or none")
        return struct.unpack_from(">II", head, 16)
    if name == "PNM":
        return size_of_netpbm(file)
    if name in ("TIFF", "BigTIFF"):
        _, tags = read_directory(file, frozenset({_WIDTH, _HEIGHT}))
        return _number(tags.get(_WIDTH)), _number(tags.get(_HEIGHT))
    with open_with_pillow(file) as image:
        return image.size


def has_more_frames(file: BufferedIOBase) -> bool:
    """Returns True if a file has further frames or pages behind the picture that is read.

    Raises:
        Exception: Whatever a decoder raises.
    """
    with open_with_pillow(file) as image:
        return bool(getattr(image, "is_animated", False))


def _number(value: tuple[int, ...] | bytes | None) -> int:
    if not isinstance(value, tuple) or len(value) != 1:
        raise DataError("the directory of the TIFF should have the width and the height, found no such tags")
    return value[0]
