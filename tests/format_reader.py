"""A reader of `.vqg` and `.vqga` files written from FORMAT.md alone, in Python's integers and without the package.

It reads the coders `packed` and `static`. Header, description and index do not depend on the coder.
"""

import struct
import zlib
from dataclasses import dataclass

Tables = list[list[int]]
"""Frequencies of each level, for `static`."""


@dataclass
class Found:
    """An image as a file contains it; `grids` are flat, coarse to fine."""

    width: int
    height: int
    rgb: bool
    label: int | None
    grids: list[list[int]]
    alpha: bytes | None
    name: str | None = None


def naive_decode(data: bytes, tables: Tables) -> list[int]:
    """Runs the range decoder of FORMAT.md, with a table for each code."""
    words = [int.from_bytes(data[i : i + 4].ljust(4, b"\0"), "big") for i in range(0, len(data), 4)] + [0] * 3
    low = 0
    width = 2**64 - 1
    point = (words[0] << 32) | words[1]
    position = 2
    codes = []
    for table in tables:
        scale = width >> 24
        quantile = ((point - low) % 2**64) // scale
        begin = code = 0
        while begin + table[code] <= quantile:
            begin += table[code]
            code += 1
        codes.append(code)
        low = (low + scale * begin) % 2**64
        width = scale * table[code]
        if width < 2**32:
            word = words[position] if position < len(words) else 0
            low = (low << 32) % 2**64
            width <<= 32
            point = ((point << 32) | word) % 2**64
            position += 1
    return codes


def read_image(data: bytes, size: int, tables: Tables) -> Found:
    """Reads a `.vqg` file of a codebook of this size."""
    assert data[:5] == bytes.fromhex("8956514701")
    flags = data[5]
    width, height, _, _, _, _, label, crc = struct.unpack_from("<HH8s8sBBHI", data, 6)
    at = 34
    levels = []
    for _ in range(flags & 3):
        levels.append(struct.unpack_from("<BHHI", data, at))
        at += 9
    alpha_length = None
    if flags & 8:
        (alpha_length,) = struct.unpack_from("<I", data, at)
        at += 4
    assert struct.unpack_from("<I", data, at) == (zlib.crc32(data[:at]),)
    at += 4
    grids = []
    for (coder, rows, columns, length), table in zip(levels, tables, strict=True):
        grids.append(_codes(coder, data[at : at + length], rows * columns, size, table))
        at += length
    alpha = None if alpha_length is None else _alpha(data[at:], width, height)
    assert at + (alpha_length or 0) == len(data)
    found = Found(width, height, bool(flags & 4), label if flags & 16 else None, grids, alpha)
    assert _crc(found) == crc
    return found


def read_beginning(data: bytes, size: int, tables: Tables) -> list[list[int]]:
    """Reads the levels that the beginning of a `.vqg` file has to their last byte, as flat grids, coarse to fine."""
    at = 34
    levels = []
    for _ in range(data[5] & 3):
        levels.append(struct.unpack_from("<BHHI", data, at))
        at += 9
    at += 4 * bool(data[5] & 8) + 4
    grids = []
    for (coder, rows, columns, length), table in zip(levels, tables, strict=True):
        if at + length > len(data):
            break
        grids.append(_codes(coder, data[at : at + length], rows * columns, size, table))
        at += length
    return grids


def read_archive(data: bytes, size: int, tables: Tables, downsample: tuple[int, ...], num_labels: int) -> list[Found]:
    """Reads a `.vqga` file."""
    assert data[:5] == bytes.fromhex("8956514101")
    assert struct.unpack_from("<I", data, 24) == (zlib.crc32(data[:24]),)
    at = 28
    images: list[Found] = []
    index: list[int] = []
    while True:
        length, begin = _varint(data, at)
        if length == 0:
            break
        block = _read_block(data[begin : begin + length], size, tables, downsample, num_labels)
        images += block
        index += [begin + length - at, len(block)]
        at = begin + length
    end = begin
    count, end = _varint(data, end)
    listed = []
    for _ in range(2 * count):
        number, end = _varint(data, end)
        listed.append(number)
    assert listed == index
    assert data[end:] == struct.pack("<II", end - begin, zlib.crc32(data[begin:end])) + b"VQAE"
    return images


def _read_block(data: bytes, size: int, tables: Tables, downsample: tuple[int, ...], num_labels: int) -> list[Found]:
    images, with_alpha, at = _read_description(data, num_labels)
    crc = zlib.crc32(data[:at])
    levels, planes, at = _read_lengths(data, at, len(tables), with_alpha)
    (expected,) = struct.unpack_from("<I", data, at)
    at += 4
    for (coder, length), table, factor in zip(levels, tables, downsample, strict=True):
        counts = [_grid_size(image, downsample[0], factor) for image in images]
        codes = _codes(coder, data[at : at + length], sum(counts), size, table)
        at += length
        for image, number in zip(images, counts, strict=True):
            image.grids.append(codes[:number])
            codes = codes[number:]
    for image, length in zip(images, planes, strict=True):
        if length is not None:
            image.alpha = _alpha(data[at : at + length], image.width, image.height)
            at += length
        crc = _crc(image, crc)
    assert at == len(data)
    assert crc == expected
    return images


def _read_description(data: bytes, num_labels: int) -> tuple[list[Found], list[bool], int]:
    """Returns the images without codes, whether each has an alpha plane, and where the description ends."""
    count, at = _varint(data, 0)
    flags = data[at]
    runs, at = _varint(data, at + 1)
    images: list[Found] = []
    with_alpha: list[bool] = []
    for _ in range(runs):
        number, at = _varint(data, at)
        width, at = _varint(data, at)
        height, at = _varint(data, at)
        images += [Found(width, height, bool(data[at] & 1), None, [], None) for _ in range(number)]
        with_alpha += [bool(data[at] & 2)] * number
        at += 1
    if flags & 2:
        length = -(-count * num_labels.bit_length() // 8)
        for image, label in zip(images, _unpack(data[at : at + length], count, num_labels + 1), strict=True):
            image.label = None if label == num_labels else label
        at += length
    if flags & 1:
        length, at = _varint(data, at)
        for image, name in zip(images, zlib.decompress(data[at : at + length]).decode().split("\0"), strict=True):
            image.name = name
        at += length
    return images, with_alpha, at


def _read_lengths(
    data: bytes, at: int, num_levels: int, with_alpha: list[bool]
) -> tuple[list[tuple[int, int]], list[int | None], int]:
    """Returns coder and length of each level, the length of each alpha plane, and where the lengths end."""
    levels = []
    planes = []
    for _ in range(num_levels):
        coder = data[at]
        length, at = _varint(data, at + 1)
        levels.append((coder, length))
    for has_alpha in with_alpha:
        length, at = _varint(data, at) if has_alpha else (None, at)
        planes.append(length)
    return levels, planes, at


def _codes(coder: int, segment: bytes, count: int, size: int, table: list[int]) -> list[int]:
    return _unpack(segment, count, size) if coder == 0 else naive_decode(segment, [table] * count)


def _unpack(data: bytes, count: int, size: int) -> list[int]:
    bits = (size - 1).bit_length()
    number = int.from_bytes(data, "big")
    assert len(data) == -(-count * bits // 8)
    return [(number >> (8 * len(data) - bits * (i + 1))) % 2**bits for i in range(count)]


def _alpha(segment: bytes, width: int, height: int) -> bytes:
    plane = bytearray(zlib.decompress(segment))
    for at in range(width, width * height):
        plane[at] = (plane[at] + plane[at - width]) % 256
    return bytes(plane)


def _crc(image: Found, start: int = 0) -> int:
    for grid in image.grids:
        start = zlib.crc32(struct.pack(f"<{len(grid)}H", *grid), start)
    return zlib.crc32(image.alpha or b"", start)


def _grid_size(image: Found, stride: int, factor: int) -> int:
    return (-(-image.height // stride) * stride // factor) * (-(-image.width // stride) * stride // factor)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at += 1
        shift += 7
    return number | data[at] << shift, at + 1
