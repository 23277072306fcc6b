"""The blocks of an archive: the codes of neighbouring images as one stream.

    description | coder and length of each level | lengths of alpha planes | CRC-32 | segments | alpha planes

`FORMAT.md` describes them byte by byte. Every number in a block is compared with a bound before memory of that size is
taken.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.block_description import ImageEntry, read_description, write_description
from vqgen.codec.header import Coder, LevelHeader, check_levels
from vqgen.codec.image_codes import ImageCodes, read_alpha, write_alpha, wrong_codes
from vqgen.codec.segments import Segment
from vqgen.codec.varints import read_byte, read_varint, write_varint
from vqgen.errors import BitstreamError

_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Block:
    """A block whose codes are still segments.

    Attributes:
        images: The entries of its images.
        segments: The codes of each level, coarse to fine.
        alphas: The alpha plane of each image; None for an image without an alpha plane.
        crc: CRC-32 of the block's description and of all codes and alpha planes.
        start: CRC-32 of the description alone.
    """

    images: list[ImageEntry]
    segments: list[Segment]
    alphas: list[bytes | None]
    crc: int
    start: int

    def checked(self, grids: Mapping[str, Sequence[NDArray[np.int64]]]) -> list[tuple[str | None, ImageCodes]]:
        """Completes the images and compares their codes with the block's CRC-32.

        Args:
            grids: Level -> decoded grids, one per image.

        Returns:
            Name and codes of each image.

        Raises:
            BitstreamError: The codes are not those that were written.
        """
        codes: list[ImageCodes] = []
        crc = self.start
        for index, (image, alpha) in enumerate(zip(self.images, self.alphas, strict=True)):
            codes.append(ImageCodes(image.shape, {level: each[index] for level, each in grids.items()}, alpha))
            crc = codes[-1].crc(crc)
        if crc != self.crc:
            raise wrong_codes("a block")
        return [(image.name, each) for image, each in zip(self.images, codes, strict=True)]


def write_block(
    codes: Sequence[ImageCodes], names: Sequence[str | None], segments: Sequence[Segment], num_labels: int
) -> bytes:
    """Writes a block, without the varint of its length that precedes it.

    Args:
        codes: The images, at least one.
        names: Their names; all None in an archive without names.
        segments: The codes of each level, coarse to fine.
        num_labels: Number of labels of the pipeline.
    """
    entries = [ImageEntry(each.shape, name) for each, name in zip(codes, names, strict=True)]
    description = write_description(entries, num_labels)
    levels = b"".join(bytes([segment.coder]) + write_varint(len(segment.data)) for segment in segments)
    planes = [write_alpha(each.alpha, each.shape.width) for each in codes if each.alpha is not None]
    lengths = b"".join(write_varint(len(plane)) for plane in planes)
    # One CRC-32 over the description and the decoded codes: it notices damage, and a prior that computes differently.
    crc = zlib.crc32(description)
    for each in codes:
        crc = each.crc(crc)
    data = [segment.data for segment in segments] + planes
    return description + levels + lengths + _CRC.pack(crc) + b"".join(data)


def read_block(data: bytes, factors: tuple[int, ...], num_labels: int) -> Block:
    """Reads everything but the codes of a block.

    Args:
        data: The block.
        factors: Total downsampling of each grid, coarse to fine.
        num_labels: Number of labels of the pipeline.

    Raises:
        BitstreamError: The block is damaged.
    """
    images, at = read_description(data, num_labels)
    start = zlib.crc32(data[:at])
    levels, at = _read_levels(data, at, _codes_per_level(images, factors))
    lengths: list[int | None] = []
    for image in images:
        length, at = read_varint(data, at) if image.shape.has_alpha else (None, at)
        lengths.append(length)
    # Lengths that do not fill the block exactly are refused before anything is cut out or inflated by them.
    size = at + _CRC.size + sum(level.length for level in levels) + sum(length or 0 for length in lengths)
    if size != len(data):
        raise BitstreamError(f"a block's segments should end at its {len(data)} bytes, found {size}")
    (crc,) = _CRC.unpack_from(data, at)
    at += _CRC.size
    segments = []
    for level in levels:
        segments.append(Segment(level.coder, data[at : at + level.length]))
        at += level.length
    alphas: list[bytes | None] = []
    for image, length in zip(images, lengths, strict=True):
        shape = image.shape
        alphas.append(None if length is None else read_alpha(data[at : at + length], shape.width, shape.height))
        at += length or 0
    return Block(images, segments, alphas, crc, start)


def _read_levels(data: bytes, at: int, totals: Sequence[int]) -> tuple[list[LevelHeader], int]:
    """Reads coder and segment length of each level; a level counts as one row of `totals` codes."""
    levels = []
    for total in totals:
        coder, at = read_byte(data, at)
        length, at = read_varint(data, at)
        if coder not in set(Coder):
            raise BitstreamError(f"the coder of a level should be one of {[*map(int, Coder)]}, found {coder}")
        levels.append(LevelHeader(Coder(coder), 1, total, length))
    check_levels(levels)
    return levels, at


def _codes_per_level(images: Sequence[ImageEntry], factors: tuple[int, ...]) -> list[int]:
    sizes = [image.shape.grid_sizes(factors) for image in images]
    return [sum(each[level][0] * each[level][1] for each in sizes) for level in range(len(factors))]
