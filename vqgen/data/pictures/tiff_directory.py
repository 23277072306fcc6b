"""The first directory of a TIFF or BigTIFF file: tag -> values.

Pillow reads no BigTIFF of big-endian order, and refuses a directory as a whole for one tag that it does not expect.

Source: TIFF 6.0 (1992), section 2; BigTIFF, Joris Van Damme (2007).
"""

import struct
from io import BufferedIOBase
from typing import Literal

from vqgen.errors import DataError

ByteOrder = Literal["<", ">"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Type of a field -> size in bytes and code of `struct`. Texts, fractions and bytes are kept as bytes."""

_AS_BYTES = (2, 5, 7)
_MOST_ENTRIES = 4096
_MOST_BYTES = 1 << 28

Values = tuple[int, ...] | bytes


def read_directory(file: BufferedIOBase, wanted: frozenset[int]) -> tuple[ByteOrder, dict[int, Values]]:
    """Reads the tags of the first directory.

    Args:
        file: The file.
        wanted: The tags to read. All other ones may be damaged.

    Returns:
        The byte order, and tag -> values.

    Raises:
        DataError: The directory is damaged.
    """
    file.seek(0)
    head = file.read(16)
    order: ByteOrder = "<" if head[:2] == b"II" else ">"
    is_big = 43 in head[2:4]
    try:
        start = struct.unpack_from(f"{order}Q", head, 8)[0] if is_big else struct.unpack_from(f"{order}I", head, 4)[0]
        file.seek(start)
        count = _read(file, f"{order}{'Q' if is_big else 'H'}")[0]
        entry = f"{order}HHQ8s" if is_big else f"{order}HHI4s"
        entries = [_read(file, entry) for _ in range(min(count, _MOST_ENTRIES))]
    except (struct.error, ValueError, OverflowError) as error:
        raise DataError(f"the directory of the TIFF is damaged or cut short: {error}") from error
    tags = {}
    for tag, kind, number, inline in entries:
        if tag in wanted and kind in _SIZES and tag not in tags:
            tags[tag] = _values(file, order, kind, number, inline)
    return order, tags


def _values(file: BufferedIOBase, order: ByteOrder, kind: int, number: int, inline: bytes) -> Values:
    length = _SIZES[kind] * number
    if length > _MOST_BYTES:
        raise DataError(f"a tag of the TIFF should have at most {_MOST_BYTES} bytes, found {length}")
    data = inline[:length]
    if length > len(inline):
        file.seek(struct.unpack(f"{order}{'Q' if len(inline) == 8 else 'I'}", inline)[0])
        data = file.read(length)
    if kind in _AS_BYTES:
        return data
    if len(data) < length:
        raise DataError("the directory of the TIFF is damaged or cut short: a tag lies behind the end of the file")
    return struct.unpack(f"{order}{number}{_CODES[kind]}", data)


def _read(file: BufferedIOBase, layout: str) -> tuple:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
