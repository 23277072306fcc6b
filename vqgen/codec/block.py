"""The blocks of an archive: the codes of neighbouring images as one stream.

    description | coder and length of each level | lengths of alpha planes | CRC-32 | segments | alpha planes

`FORMAT.md` describes them byte by byte. Every number in a block is compared with a bound before memory of that size is
taken.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.archive_layout import cut_block
from vqgen.codec.block_description import ImageEntry, write_description
from vqgen.codec.block_head import CRC, BlockHead, HeadRules, read_head
from vqgen.codec.image_codes import ImageCodes, read_alpha, write_alpha, wrong_codes
from vqgen.codec.level_choice import LevelChoice, TakenLevels
from vqgen.codec.segments import Segment
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError


@dataclass(frozen=True)
class Block:
    """A block whose codes are still segments.

    Attributes:
        images: The entries of its images.
        segments: The codes of each level that is read, coarse to fine.
        alphas: The alpha plane of each image; None for an image without an alpha plane, and in a preview.
        crc: CRC-32 of the block's description and of all codes and alpha planes.
        start: CRC-32 of the description alone.
        taken: The levels that are decoded; None for all, which are checked.
    """

    images: list[ImageEntry]
    segments: list[Segment]
    alphas: list[bytes | None]
    crc: int
    start: int
    taken: TakenLevels | None = None

    def checked(self, grids: Mapping[str, Sequence[NDArray[np.int64]]]) -> list[tuple[str | None, ImageCodes]]:
        """Completes the images, and compares their codes with the block's CRC-32 if all levels are read.

        Args:
            grids: Level -> decoded grids, one per image.

        Returns:
            Name and codes of each image.

        Raises:
            BitstreamError: The codes are not those that were written.
        """
        taken = self.taken or TakenLevels(tuple(grids), len(grids), is_checked=True)
        crc = self.start
        images: list[tuple[str | None, ImageCodes]] = []
        for index, (image, alpha) in enumerate(zip(self.images, self.alphas, strict=True)):
            found = {level: each[index] for level, each in grids.items()}
            if taken.is_checked:
                crc = ImageCodes(image.shape, found, alpha).crc(crc)
            chosen = {level: found[level] for level in taken.names}
            images.append((image.name, ImageCodes(image.shape, chosen, alpha, taken.cut)))
        if taken.is_checked and crc != self.crc:
            raise wrong_codes("a block")
        return images


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
    return description + levels + lengths + CRC.pack(crc) + b"".join(data)


def read_block(
    data: bytes,
    factors: tuple[int, ...],
    num_labels: int,
    choice: LevelChoice | None = None,
    size: int | None = None,
    found: int | None = None,
) -> Block:
    """Reads everything but the codes of a block.

    Args:
        data: The block, or its beginning.
        factors: Total downsampling of each grid, coarse to fine.
        num_labels: Number of labels of the pipeline.
        choice: The levels to decode; None for all of a whole block.
        size: Bytes of the block; None if the data are the whole block.
        found: Bytes that the file has of it; None if the data are all of them.

    Raises:
        BitstreamError: The block is damaged; or it is cut short, and partial files are not allowed or have no level
            whole.
    """
    size = len(data) if size is None else size
    head = read_head(data, size, HeadRules(len(factors), factors, num_labels))
    found = len(data) if found is None else found
    cut = cut_block(size, found) if found < size else None
    taken = None
    if choice is not None:
        taken = choice.take(head.ends, found, cut)
    elif cut is not None:
        raise cut
    count = len(factors) if taken is None else taken.count
    if len(data) < head.ends[count - 1]:  # a decoder would read zeros in their place
        raise BitstreamError(f"{head.ends[count - 1]} bytes of a block should be read, found {len(data)}")
    segments = [
        Segment(level.coder, data[end - level.length : end])
        for level, end in zip(head.levels[:count], head.ends, strict=False)
    ]
    alphas: list[bytes | None] = [None] * len(head.images)
    if taken is None or taken.is_checked:
        alphas = _read_alphas(data, head)
    return Block(head.images, segments, alphas, head.crc, head.start, taken)


def _read_alphas(data: bytes, head: BlockHead) -> list[bytes | None]:
    at = head.ends[-1]
    alphas: list[bytes | None] = []
    for image, length in zip(head.images, head.alpha_lengths, strict=True):
        shape = image.shape
        alphas.append(None if length is None else read_alpha(data[at : at + length], shape.width, shape.height))
        at += length or 0
    return alphas
