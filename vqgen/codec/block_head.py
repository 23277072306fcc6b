"""The part of an archive's block before its segments: the description, the lengths and the CRC-32.

It is read without the codes: names and sizes of the images are in it, and the offset of each level. With the model that
wrote the archive every number is checked against the grids. Without it the sizes are known and the labels are not.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from vqgen.codec.block_description import ImageEntry, possible_label_bytes, read_description
from vqgen.codec.header import Coder, LevelHeader, check_levels
from vqgen.codec.varints import read_byte, read_varint
from vqgen.errors import BitstreamError

CRC = struct.Struct("<I")
"""The CRC-32 at the end of a head."""


@dataclass(frozen=True)
class HeadRules:
    """The numbers that a reader knows about the blocks of an archive.

    Attributes:
        num_levels: Number of levels.
        factors: Total downsampling of each grid, coarse to fine; None without the model.
        num_labels: Number of labels of the pipeline; None without it.
    """

    num_levels: int
    factors: tuple[int, ...] | None = None
    num_labels: int | None = None


@dataclass(frozen=True)
class BlockHead:
    """The part of a block before its segments.

    Attributes:
        images: The entries of its images.
        levels: Coder and segment length of each level, coarse to fine.
        alpha_lengths: Length of the alpha segment of each image; None for an image without an alpha plane.
        crc: CRC-32 of the block's description and of all codes and alpha planes.
        start: CRC-32 of the description alone.
        size: Bytes of the head.
        knows_labels: False if the images may have labels that only the pipeline can tell.
    """

    images: list[ImageEntry]
    levels: list[LevelHeader]
    alpha_lengths: list[int | None]
    crc: int
    start: int
    size: int
    knows_labels: bool = True

    @property
    def ends(self) -> list[int]:
        """The offset behind the segment of each level, coarse to fine."""
        return list(accumulate((level.length for level in self.levels), initial=self.size))[1:]

    @property
    def block_size(self) -> int:
        """Bytes of the block."""
        return self.ends[-1] + sum(length or 0 for length in self.alpha_lengths)


def read_head(data: bytes, size: int, rules: HeadRules) -> BlockHead:
    """Reads the head of a block.

    Args:
        data: The block, or its beginning.
        size: Bytes of the block.
        rules: The numbers that are known.

    Raises:
        BitstreamError: The block is damaged, or its head goes on behind the data. Without the number of labels: the
            block fits to several numbers.
    """
    if rules.num_labels is not None:
        return _read_head(data, size, rules, 0)
    # The labels take a number of bytes that only the pipeline knows, but with a wrong one the rest makes no sense.
    fitting: list[BlockHead] = []
    failure: BitstreamError | None = None
    for label_bytes in possible_label_bytes(data):
        try:
            fitting.append(_read_head(data, size, rules, label_bytes))
        except BitstreamError as error:
            failure = failure or error
    if len(fitting) != 1:
        unclear = BitstreamError("a block with labels can be read only with the pipeline that wrote it")
        raise unclear if fitting or failure is None else failure
    return fitting[0]


def _read_head(data: bytes, size: int, rules: HeadRules, label_bytes: int) -> BlockHead:
    images, at = read_description(data, rules.num_labels, label_bytes)
    start = zlib.crc32(data[:at])
    levels, at = _read_levels(data, at, images, rules)
    lengths: list[int | None] = []
    for image in images:
        length, at = read_varint(data, at) if image.shape.has_alpha else (None, at)
        lengths.append(length)
    if at + CRC.size > len(data):
        raise BitstreamError(f"a block is cut short: it should have more than its {len(data)} bytes")
    (crc,) = CRC.unpack_from(data, at)
    knows_labels = rules.num_labels is not None or possible_label_bytes(data) == [0]
    head = BlockHead(images, levels, lengths, crc, start, at + CRC.size, knows_labels)
    # Lengths that do not fill the block exactly are refused before anything is cut out or inflated by them.
    if head.block_size != size:
        raise BitstreamError(f"a block's segments should end at its {size} bytes, found {head.block_size}")
    return head


def _read_levels(data: bytes, at: int, images: Sequence[ImageEntry], rules: HeadRules) -> tuple[list[LevelHeader], int]:
    """Reads coder and segment length of each level; a level counts as one row of all its codes."""
    levels = []
    for index in range(rules.num_levels):
        coder, at = read_byte(data, at)
        length, at = read_varint(data, at)
        if coder not in set(Coder):
            raise BitstreamError(f"the coder of a level should be one of {[*map(int, Coder)]}, found {coder}")
        codes = 0 if rules.factors is None else _codes_of_level(images, rules.factors, index)
        levels.append(LevelHeader(Coder(coder), 1, codes, length))
    if rules.factors is not None:
        check_levels(levels)
    return levels, at


def _codes_of_level(images: Sequence[ImageEntry], factors: tuple[int, ...], index: int) -> int:
    sizes = (image.shape.grid_sizes(factors)[index] for image in images)
    return sum(height * width for height, width in sizes)
