"""The description in front of an archive's block: the sizes, colours, labels and names of its images.

Neighbours of the same size and colours share one entry, a run, because archives hold mostly images of one size.
`FORMAT.md` describes it byte by byte.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vqgen.codec.header import MAX_PIXELS
from vqgen.codec.image_codes import ImageShape
from vqgen.codec.packed_coder import pack, unpack
from vqgen.codec.varints import read_byte, read_varint, write_varint
from vqgen.errors import BitstreamError

MAX_IMAGES = 1 << 16
"""Images of a block, at most."""

MAX_NAMES = 1 << 22
"""Bytes of all names of a block, at most, with a 0 after each."""

_MOST_LABEL_BITS = 16

# Bits of the block's flags.
_NAMES = 1
_LABELS = 2

# Bits of a run's flags.
_RGB = 1
_ALPHA = 2


@dataclass(frozen=True)
class ImageEntry:
    """The entry of an image in a block's description.

    Attributes:
        shape: Size, colours, label.
        name: Its name; None in an archive without names.
    """

    shape: ImageShape
    name: str | None


def write_description(entries: Sequence[ImageEntry], num_labels: int) -> bytes:
    """Writes a description.

    Args:
        entries: At least one; all with a name or all without.
        num_labels: Number of labels of the pipeline.
    """
    names = [entry.name for entry in entries]
    labels = [entry.shape.label for entry in entries]
    flags = (names[0] is not None) * _NAMES | any(label is not None for label in labels) * _LABELS
    kinds = [(entry.shape.width, entry.shape.height, _kind(entry.shape)) for entry in entries]
    runs = [(len(list(group)), *kind) for kind, group in groupby(kinds)]
    parts = [write_varint(len(entries)), bytes([flags]), write_varint(len(runs))]
    for count, width, height, kind in runs:
        parts += [write_varint(count), write_varint(width), write_varint(height), bytes([kind])]
    if flags & _LABELS:
        # The number after the last label stands for "no label", so labels are packed as num_labels + 1 codes.
        parts.append(pack(np.array([num_labels if label is None else label for label in labels]), num_labels + 1))
    if flags & _NAMES:
        # surrogateescape keeps names that are not UTF-8, which a file system may have, byte for byte.
        joined = "\0".join(name or "" for name in names).encode(errors="surrogateescape")
        # Names of neighbours are alike, so deflate removes most of their bytes.
        compressed = zlib.compress(joined, 9)
        parts += [write_varint(len(compressed)), compressed]
    return b"".join(parts)


def read_description(data: bytes, num_labels: int | None, label_bytes: int = 0) -> tuple[list[ImageEntry], int]:
    """Reads the description at the beginning of a block.

    Args:
        data: The block, or its beginning.
        num_labels: Number of labels of the pipeline; None if it is not known, and labels are passed over.
        label_bytes: Bytes of the labels, if their number is not known.

    Returns:
        The entries, and the offset after the description.

    Raises:
        BitstreamError: The description is damaged or claims impossible sizes, or goes on behind the data.
    """
    count, at = read_varint(data, 0)
    flags, at = read_byte(data, at)
    num_runs, at = read_varint(data, at)
    if not 0 < num_runs <= count <= MAX_IMAGES or flags >> 2:
        raise BitstreamError(f"a block should have 1 to {MAX_IMAGES} images, found {count} in {num_runs} runs")
    shapes, at = _read_runs(data, at, num_runs, count)
    labels: Sequence[int | None] = [None] * count
    if flags & _LABELS:
        labels, at = (labels, at + label_bytes) if num_labels is None else _read_labels(data, at, count, num_labels)
    names: Sequence[str | None] = [None] * count
    if flags & _NAMES:
        names, at = _read_names(data, at, count)
    described = zip(shapes, labels, names, strict=True)
    return [
        ImageEntry(ImageShape(s.width, s.height, s.rgb, label, s.has_alpha), name) for s, label, name in described
    ], at


def possible_label_bytes(data: bytes) -> list[int]:
    """Returns the numbers of bytes that the labels of a block may take, for pipelines of any number of labels.

    Args:
        data: The block, or its beginning.

    Raises:
        BitstreamError: The data end before the flags of the block.
    """
    count, at = read_varint(data, 0)
    flags, _ = read_byte(data, at)
    return sorted({-(-count * bits // 8) for bits in range(_MOST_LABEL_BITS + 1)}) if flags & _LABELS else [0]


def _kind(shape: ImageShape) -> int:
    return shape.rgb * _RGB | shape.has_alpha * _ALPHA


def _read_runs(data: bytes, at: int, num_runs: int, count: int) -> tuple[list[ImageShape], int]:
    shapes: list[ImageShape] = []
    for _ in range(num_runs):
        number, at = read_varint(data, at)
        width, at = read_varint(data, at)
        height, at = read_varint(data, at)
        kind, at = read_byte(data, at)
        # Checked before the list grows: a damaged run can claim 2^35 images.
        if number > count - len(shapes) or not 0 < width * height <= MAX_PIXELS or kind >> 2:
            raise BitstreamError(f"a block's images cannot be {number} of {width} x {height}; the file is damaged")
        shapes += [ImageShape(width, height, bool(kind & _RGB), None, bool(kind & _ALPHA))] * number
    if len(shapes) != count:
        raise BitstreamError(f"a block should describe {count} images, found {len(shapes)}")
    return shapes, at


def _read_labels(data: bytes, at: int, count: int, num_labels: int) -> tuple[list[int | None], int]:
    # The largest of the num_labels + 1 codes is num_labels, so its bits are enough for all.
    size = -(-count * num_labels.bit_length() // 8)
    if not num_labels:  # a pipeline without labels has nothing to read: labels take zero bits each
        return [None] * count, at
    numbers = unpack(data[at : at + size], count, num_labels + 1).tolist()
    return [None if number == num_labels else number for number in numbers], at + size


def _read_names(data: bytes, at: int, count: int) -> tuple[list[str], int]:
    length, at = read_varint(data, at)
    inflate = zlib.decompressobj()
    try:
        # Limited, because a few compressed bytes can inflate to gigabytes.
        joined = inflate.decompress(data[at : at + length], MAX_NAMES)
    except zlib.error as error:
        raise BitstreamError(f"the names of a block are damaged: {error}") from error
    names = joined.decode(errors="surrogateescape").split("\0")
    if len(names) != count or not inflate.eof:
        raise BitstreamError(f"a block should have {count} names, found {len(names)}")
    return names, at + length
