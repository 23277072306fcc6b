"""The frame around the contents of every file: magic bytes and version in front, a CRC-32 behind the header.

Two bits count the levels of a file of version 1. Files with more levels have version 2, and further bits for the rest
of the number; everything else is as in version 1.
"""

import struct
import zlib

from vqgen.errors import BitstreamError

NEWEST_VERSION = 2

_CRC = struct.Struct("<I")


def version_of(num_levels: int) -> int:
    """Returns the version of a file with so many levels."""
    return 1 if num_levels <= 3 else NEWEST_VERSION


def flags_of(num_levels: int, spare: int) -> int:
    """Returns the bits of the flags that count levels.

    Args:
        num_levels: The number of levels.
        spare: The first bit that version 1 leaves free.
    """
    return num_levels & 3 | num_levels >> 2 << spare


def num_levels_in(version: int, flags: int, spare: int) -> int:
    """Returns the number of levels that flags count; `spare` as in `flags_of`."""
    return flags & 3 | (flags >> spare << 2 if version > 1 else 0)


def check_magic(data: bytes, magic: bytes, kind: str) -> None:
    """Checks the first five bytes of a file: magic and version.

    Args:
        data: The beginning of the file.
        magic: Its first four bytes.
        kind: The kind of file with its article, for the message.

    Raises:
        BitstreamError: The file is of another kind or version.
    """
    if data[:4] != magic:
        raise BitstreamError(f"this is not {kind}: it should begin with {magic!r}, found {data[:4]!r}")
    # Checked before any checksum: another version may have its CRC-32 at another place.
    if len(data) > 4 and not 1 <= data[4] <= NEWEST_VERSION:
        remedy = "update vqgen, or the file is damaged" if data[4] else "the file is damaged"
        raise BitstreamError(f"the format should be version 1 or {NEWEST_VERSION}, found {data[4]}; {remedy}")


def seal(data: bytes) -> bytes:
    """Appends the CRC-32 of the data."""
    return data + _CRC.pack(zlib.crc32(data))


def check_seal(data: bytes, size: int) -> None:
    """Checks that the CRC-32 of the first `size` bytes follows them.

    Args:
        data: The beginning of the file.
        size: Length of the header in bytes, without its CRC-32.

    Raises:
        BitstreamError: The file ends before the CRC-32, or the CRC-32 is wrong.
    """
    if len(data) < size + _CRC.size:
        raise BitstreamError(
            f"the file is cut short: its header should have {size + _CRC.size} bytes, found {len(data)}"
        )
    if zlib.crc32(data[:size]) != _CRC.unpack_from(data, size)[0]:
        raise BitstreamError("the header is damaged: its CRC-32 is wrong")
