"""The frame around the contents of every file: magic bytes and version in front, a CRC-32 behind the header."""

import struct
import zlib

from vqgen.errors import BitstreamError

_CRC = struct.Struct("<I")


def check_magic(data: bytes, magic: bytes, version: int, kind: str) -> None:
    """Checks the first five bytes of a file: magic and version.

    Args:
        data: The beginning of the file.
        magic: Its first four bytes.
        version: The version that this program reads.
        kind: The kind of file with its article, for the message.

    Raises:
        BitstreamError: The file is of another kind or version.
    """
    if data[:4] != magic:
        raise BitstreamError(f"this is not {kind}: it should begin with {magic!r}, found {data[:4]!r}")
    # Checked before any checksum: another version may have its CRC-32 at another place.
    if len(data) > 4 and data[4] != version:
        remedy = "update vqgen" if data[4] > version else "use the vqgen that wrote it"
        raise BitstreamError(
            f"the format should be version {version}, found {data[4]}; {remedy}, or the file is damaged"
        )


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
