"""Uncompressed YCbCr in TIFF: handed to the TIFF library of Pillow, which knows subsampling and reference values.

Pillow itself takes the bytes of an uncompressed picture for full samples of the full range. It calls the library for
compressed pictures only, so the strips are packed on the way.

Source: TIFF 6.0 (1992), sections 20 and 21.
"""

import struct
import zlib
from io import BufferedIOBase, BytesIO

from vqgen.data.pictures.tiff_directory import ByteOrder, Values, read_directory
from vqgen.errors import DataError

_YCBCR = 6
_DEFLATE = 8
_COPIED = frozenset({256, 257, 258, 262, 274, 277, 278, 284, 529, 530, 531, 532, 34675})
_PLACED = frozenset({259, 273, 279})


def with_packed_ycbcr(file: BufferedIOBase) -> BufferedIOBase:
    """Returns a file of the same picture whose strips are packed; the same object for any other kind of picture.

    Raises:
        DataError: The directory is damaged.
    """
    order, tags = read_directory(file, _COPIED | _PLACED)
    offsets, counts = tags.get(273, ()), tags.get(279, ())
    is_plain = tags.get(262) == (_YCBCR,) and tags.get(259, (1,)) == (1,)
    if not is_plain or not offsets or len(offsets) != len(counts):
        return file
    strips = []
    for offset, count in zip(offsets, counts, strict=True):
        file.seek(offset)
        strips.append(zlib.compress(file.read(count), 1))
    kept = {tag: values for tag, values in tags.items() if tag in _COPIED}
    if 530 not in kept and sum(counts) == 3 * tags.get(256, (0,))[0] * tags.get(257, (0,))[0]:
        kept[530] = (1, 1)  # without the tag every second sample would be missing, but all are there
    return BytesIO(_built(order, kept, strips))


def _built(order: ByteOrder, tags: dict[int, Values], strips: list[bytes]) -> bytes:
    """Builds a file of strips and tags. Numbers are written as 32 bits, fractions and bytes as they are."""
    places = []
    end = 8
    for strip in strips:
        places.append(end)
        end += len(strip)
    entries = tags | {259: (_DEFLATE,), 273: tuple(places), 279: tuple(map(len, strips))}
    table = struct.pack(f"{order}H", len(entries))
    behind = b""
    start = end + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        if isinstance(values, bytes):
            kind, number, data = (7, len(values), values) if tag == 34675 else (5, len(values) // 8, values)
        else:
            if max(values) >= 1 << 32:
                raise DataError("an uncompressed YCbCr picture should take less than 4 GiB")
            kind, number, data = 4, len(values), struct.pack(f"{order}{len(values)}I", *values)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", start + len(behind))
        behind += data if len(data) > 4 else b""
        table += struct.pack(f"{order}HHI4s", tag, kind, number, place)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HI", 42, end) + b"".join(strips) + table + b"\0\0\0\0" + behind
