"""The blocks of an archive; `FORMAT.md` describes them byte by byte.

Every number that a block states is held against a bound before anything of that size is made.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.header import MAX_PIXELS, Coder, LevelHeader, check_levels
from vqgen.codec.image_codes import ImageCodes, ImageShape, read_alpha, write_alpha, wrong_codes
from vqgen.codec.segments import Segment, pack, unpack
from vqgen.errors import BitstreamError

MAX_IMAGES = 1 << 16
"""Images of a block, at most."""

MAX_NAMES = 1 << 22
"""Bytes of all names of a block, at most, with a 0 after each."""

_NAMES, _LABELS = 1, 2
_RGB, _ALPHA = 1, 2
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class BlockImage:
    """An image of a block.

    Attributes:
        shape: Size, colours, label.
        name: Its name; None in an archive without names.
        codes: Its codes; None before they are decoded.
    """

    shape: ImageShape
    name: str | None
    codes: ImageCodes | None = None


@dataclass(frozen=True)
class Block:
    """A block that has been read, but for its codes.

    Attributes:
        images: Its images.
        segments: The codes of each level, coarse to fine.
        alphas: The alpha plane of each image, or None.
        crc: CRC-32 of the block's description and of all codes and alpha planes.
        start: CRC-32 of the description alone.
    """

    images: list[BlockImage]
    segments: list[Segment]
    alphas: list[bytes | None]
    crc: int
    start: int

    def checked(self, grids: Mapping[str, Sequence[NDArray[np.int64]]]) -> list[tuple[str | None, ImageCodes]]:
        """Name and codes of each image, if these are the codes that were written.

        Raises:
            BitstreamError: They are not.
        """
        codes, crc = [], self.start
        for index, (image, alpha) in enumerate(zip(self.images, self.alphas, strict=True)):
            codes.append(ImageCodes(image.shape, {level: each[index] for level, each in grids.items()}, alpha))
            crc = codes[-1].crc(crc)
        if crc != self.crc:
            raise wrong_codes("a block")
        return [(image.name, each) for image, each in zip(self.images, codes, strict=True)]


def write_block(images: Sequence[BlockImage], segments: Sequence[Segment], num_labels: int) -> bytes:
    """Writes a block, without the varint of its length that stands before it.

    Args:
        images: At least one, with their codes.
        segments: The codes of each level, coarse to fine.
        num_labels: Labels of the pipeline.
    """
    description = _describe(images, num_labels)
    levels = b"".join(bytes([segment.coder]) + write_varint(len(segment.data)) for segment in segments)
    codes = [image.codes for image in images if image.codes]
    planes = [write_alpha(each.alpha, each.shape.width) for each in codes if each.alpha is not None]
    lengths = b"".join(write_varint(len(plane)) for plane in planes)
    crc = zlib.crc32(description)
    for each in codes:
        crc = each.crc(crc)
    data = [segment.data for segment in segments] + planes
    return description + levels + lengths + _CRC.pack(crc) + b"".join(data)


def read_block(data: bytes, downsample: tuple[int, ...], num_labels: int) -> Block:
    """Reads a block, but for the codes.

    Args:
        data: The block.
        downsample: Total downsampling of each level, coarse to fine.
        num_labels: Labels of the pipeline.

    Raises:
        BitstreamError: It is damaged.
    """
    images, at = _read_description(data, num_labels)
    start = zlib.crc32(data[:at])
    totals = _codes_per_level(images, downsample)
    levels = []
    for total in totals:
        coder, at = _read_byte(data, at)
        length, at = read_varint(data, at)
        if coder not in set(Coder):
            raise BitstreamError(f"a level's coder should be a known one, found {coder}")
        levels.append(LevelHeader(Coder(coder), 1, total, length))
    check_levels(levels)
    lengths: list[int | None] = []
    for image in images:
        length, at = read_varint(data, at) if image.shape.has_alpha else (None, at)
        lengths.append(length)
    if at + _CRC.size + sum(level.length for level in levels) + sum(n or 0 for n in lengths) != len(data):
        raise BitstreamError(f"a block's segments should fill its {len(data)} bytes, and do not")
    (crc,), at = _CRC.unpack_from(data, at), at + _CRC.size
    segments = []
    for level in levels:
        segments.append(Segment(level.coder, data[at : at + level.length]))
        at += level.length
    alphas: list[bytes | None] = []
    for image, length in zip(images, lengths, strict=True):
        size = (image.shape.width, image.shape.height)
        alphas.append(None if length is None else read_alpha(data[at : at + length], *size))
        at += length or 0
    return Block(images, segments, alphas, crc, start)


def write_varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a varint of at most five bytes; returns it and where it ends.

    Raises:
        BitstreamError: The data end in it, or it is longer.
    """
    number = 0
    for index in range(5):
        byte, at = _read_byte(data, at)
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at
    raise BitstreamError("a number is longer than it may be; the file is damaged")


def _read_byte(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise BitstreamError("a block is cut short")
    return data[at], at + 1


def _describe(images: Sequence[BlockImage], num_labels: int) -> bytes:
    """Everything but the codes: runs of images of the same size, labels, names."""
    names, labels = [image.name for image in images], [image.shape.label for image in images]
    flags = (names[0] is not None) * _NAMES | any(label is not None for label in labels) * _LABELS
    kinds = [(image.shape.width, image.shape.height, _kind(image.shape)) for image in images]
    runs = [(len(list(group)), *kind) for kind, group in groupby(kinds)]
    parts = [write_varint(len(images)), bytes([flags]), write_varint(len(runs))]
    for count, width, height, kind in runs:
        parts += [write_varint(count), write_varint(width), write_varint(height), bytes([kind])]
    if flags & _LABELS:
        parts.append(pack(np.array([num_labels if label is None else label for label in labels]), num_labels + 1))
    if flags & _NAMES:
        joined = "\0".join(name or "" for name in names).encode(errors="surrogateescape")
        joined = zlib.compress(joined, 9)
        parts += [write_varint(len(joined)), joined]
    return b"".join(parts)


def _kind(shape: ImageShape) -> int:
    return shape.rgb * _RGB | shape.has_alpha * _ALPHA


def _read_description(data: bytes, num_labels: int) -> tuple[list[BlockImage], int]:
    count, at = read_varint(data, 0)
    flags, at = _read_byte(data, at)
    num_runs, at = read_varint(data, at)
    if not 0 < num_runs <= count <= MAX_IMAGES or flags >> 2:
        raise BitstreamError(f"a block should have 1 to {MAX_IMAGES} images, found {count} of {num_runs} kinds")
    shapes: list[ImageShape] = []
    for _ in range(num_runs):
        number, at = read_varint(data, at)
        width, at = read_varint(data, at)
        height, at = read_varint(data, at)
        kind, at = _read_byte(data, at)
        if number > count - len(shapes) or not 0 < width * height <= MAX_PIXELS or kind >> 2:
            raise BitstreamError(f"a block's images cannot be {number} of {width} x {height}; the file is damaged")
        shapes += [ImageShape(width, height, bool(kind & _RGB), None, bool(kind & _ALPHA))] * number
    if len(shapes) != count:
        raise BitstreamError(f"a block should describe {count} images, found {len(shapes)}")
    labels: Sequence[int | None] = [None] * count
    if flags & _LABELS:
        size = -(-count * num_labels.bit_length() // 8)
        numbers = unpack(data[at : at + size], count, num_labels + 1).tolist() if num_labels else []
        labels, at = [None if number == num_labels else number for number in numbers] or labels, at + size
    names: Sequence[str | None] = [None] * count
    if flags & _NAMES:
        names, at = _read_names(data, at, count)
    described = zip(shapes, labels, names, strict=True)
    return [
        BlockImage(ImageShape(s.width, s.height, s.rgb, label, s.has_alpha), name) for s, label, name in described
    ], at


def _read_names(data: bytes, at: int, count: int) -> tuple[list[str], int]:
    length, at = read_varint(data, at)
    inflate = zlib.decompressobj()
    try:
        joined = inflate.decompress(data[at : at + length], MAX_NAMES)
    except zlib.error as error:
        raise BitstreamError(f"the names of a block are damaged: {error}") from error
    names = joined.decode(errors="surrogateescape").split("\0")
    if len(names) != count or not inflate.eof:
        raise BitstreamError(f"a block should have {count} names, found {len(names)}")
    return names, at + length


def _codes_per_level(images: Sequence[BlockImage], downsample: tuple[int, ...]) -> list[int]:
    sizes = [image.shape.grid_sizes(downsample) for image in images]
    return [sum(each[level][0] * each[level][1] for each in sizes) for level in range(len(downsample))]
