"""Numbers of variable length: seven bits a byte, the lowest first. Small numbers, which are frequent, take one byte."""

from vqgen.errors import BitstreamError

_MOST_BYTES = 5
"""Bytes of a varint, at most: 35 bits hold every number of the format, and a damaged file cannot go on for ever."""


def write_varint(number: int) -> bytes:
    """Writes a number of at most 35 bits; the highest bit of a byte is set if more bytes follow."""
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a varint.

    Args:
        data: The bytes.
        at: Offset of the varint.

    Returns:
        The number, and the offset of the byte after it.

    Raises:
        BitstreamError: The data end inside the varint, or it has more than five bytes.
    """
    number = 0
    for index in range(_MOST_BYTES):
        byte, at = read_byte(data, at)
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at
    raise BitstreamError(f"a number should have at most {_MOST_BYTES} bytes, found more; the file is damaged")


def read_byte(data: bytes, at: int) -> tuple[int, int]:
    """Reads the byte at an offset.

    Returns:
        The byte, and the offset after it.

    Raises:
        BitstreamError: The data end before it.
    """
    if at >= len(data):
        raise BitstreamError(f"a block is cut short: it should have more than its {len(data)} bytes")
    return data[at], at + 1
