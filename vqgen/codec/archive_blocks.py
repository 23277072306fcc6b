"""The blocks of an archive in a file that can seek: each is read only when it is asked for, and only as far as needed.

With a sound index every block is found, whatever happened to the others. Without it, for instance in an archive that is
cut short, the blocks are found one behind the other, up to the damage.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Generic, TypeVar

from vqgen.codec.archive_layout import (
    HEADER_BYTES,
    MAX_INDEX_BYTES,
    IndexEntry,
    cut_block,
    parse_index,
    read_block_size,
    read_index,
)
from vqgen.codec.block_head import BlockHead, HeadRules, read_head
from vqgen.errors import BitstreamError

T = TypeVar("T")

_READ_BYTES = 1 << 20

_HEAD_BYTES = 1 << 8
"""Bytes in which a head is looked for at first; then in twice as many, and so on."""


class StoredBlock:
    """A block in a file, read from its beginning as far as it is needed.

    Args:
        file: The archive, which can seek.
        begin: Offset of its first byte, behind its length.
        size: Bytes that it should have.
        found: Bytes that the file has of it; None for all.

    Attributes:
        size: Bytes that it should have.
        found: Bytes that the file has of it: fewer if the file is cut short.
    """

    def __init__(self, file: BufferedIOBase, begin: int, size: int, found: int | None = None) -> None:
        self.size = size
        self.found = size if found is None else found
        self._file = file
        self._begin = begin
        self._data = b""

    def first(self, count: int) -> bytes:
        """Returns the first bytes, at least `count` of them unless the block or the file has less."""
        if count > len(self._data):
            self._file.seek(self._begin + len(self._data))
            parts = [self._data]
            missing = min(count, self.size) - len(self._data)
            # Part by part, so that memory grows with the bytes that the file has and not with the size that it claims.
            while missing > 0 and (part := self._file.read(min(missing, _READ_BYTES))):
                parts.append(part)
                missing -= len(part)
            self._data = b"".join(parts)
        return self._data

    def head(self, rules: HeadRules) -> BlockHead:
        """Reads the head of the block, and hardly more.

        Raises:
            BitstreamError: The head is damaged, or cut short.
        """
        count = _HEAD_BYTES
        while True:
            data = self.first(count)
            try:
                return read_head(data, self.size, rules)
            except BitstreamError:
                if len(data) < count or count >= self.size:
                    raise  # there is no more to read
            count *= 2


@dataclass(frozen=True)
class FoundBlock:
    """A block of an archive, or the damage in its place.

    Attributes:
        block: The block, or the reason why it cannot be read.
        images: Its number of images by the index; None without a sound index.
    """

    block: StoredBlock | BitstreamError
    images: int | None = None


@dataclass(frozen=True)
class BlockContent(Generic[T]):
    """The images of a block, or the damage to it.

    Attributes:
        first: Number of its first image in the archive.
        count: Number of its images. A damaged block has the number of the index or of its head, or 1 if both are
            damaged.
        images: Something of each image; the reason if the block cannot be read.
    """

    first: int
    count: int
    images: Sequence[T] | BitstreamError


def read_each(
    file: BufferedIOBase,
    rules: HeadRules,
    read: Callable[[StoredBlock], list[T]],
    numbers: Container[int] | None = None,
    allow_partial: bool = False,
) -> Iterator[BlockContent[T]]:
    """Reads the blocks of an archive; a damaged block leaves the others as they are.

    Args:
        file: The archive.
        rules: The numbers that are known about its blocks.
        read: Reads something of each image of a block.
        numbers: Only the blocks that have one of these images are read; None for all.
        allow_partial: Read a block whose end is missing, too.
    """
    first = 0
    for found in find_blocks(file):
        head = None
        count = found.images
        if count is None:
            head = _head(found, rules)
            count = 1 if head is None else len(head.images)
        if numbers is None or any(number in numbers for number in range(first, first + count)):
            try:
                if isinstance(found.block, BitstreamError):
                    raise found.block
                if found.block.found < found.block.size and (not allow_partial or head is None):
                    raise cut_block(found.block.size, found.block.found)
                images: list[T] | BitstreamError = read(found.block)
                if found.images is not None and len(images) != found.images:
                    raise wrong_count(found.images, len(images))
            except BitstreamError as error:
                images = error
            yield BlockContent(first, count, images)
        first += count


def wrong_count(expected: int, found: int) -> BitstreamError:
    """Builds the error for a block with another number of images than the index says.

    Args:
        expected: The number in the index.
        found: The number in the block.
    """
    return BitstreamError(f"a block should have {expected} images by the index, found {found}")


def find_blocks(file: BufferedIOBase) -> Iterator[FoundBlock]:
    """Yields the blocks of an archive, and the damage between them."""
    try:
        entries = read_index(file)
    except BitstreamError:
        yield from _blocks_in_order(file)
        return
    offset = HEADER_BYTES
    for entry in entries:
        try:
            yield FoundBlock(block_at(file, offset, entry), entry.images)
        except BitstreamError as error:
            yield FoundBlock(error, entry.images)
        offset += entry.length


def block_at(file: BufferedIOBase, offset: int, entry: IndexEntry) -> StoredBlock:
    """Returns the block of an entry of the index.

    Args:
        file: The archive.
        offset: Offset of the block, with its length before it.
        entry: The entry.

    Raises:
        BitstreamError: The length before the block is not that of the index.
    """
    file.seek(offset)
    size = read_block_size(file)
    begin = file.tell()
    if begin + size != offset + entry.length or not size:
        raise BitstreamError(
            f"a block should have {entry.length} bytes with its length by the index, found {begin + size - offset}"
        )
    return StoredBlock(file, begin, size)


def _head(found: FoundBlock, rules: HeadRules) -> BlockHead | None:
    """Returns the head of a block; None if it is damaged."""
    try:
        return None if isinstance(found.block, BitstreamError) else found.block.head(rules)
    except BitstreamError:
        return None


def _blocks_in_order(file: BufferedIOBase) -> Iterator[FoundBlock]:
    """Yields the blocks from the beginning to the first damage between them, and the damage."""
    end = file.seek(0, 2)
    offset = HEADER_BYTES
    try:
        while True:
            file.seek(offset)
            size = read_block_size(file)
            begin = file.tell()
            if not size:
                parse_index(file.read(MAX_INDEX_BYTES))
                raise BitstreamError("the lengths in the index should fill the archive, and do not; it is damaged")
            offset = begin + size
            yield FoundBlock(StoredBlock(file, begin, size, min(size, end - begin)))
            if offset > end:
                return
    except BitstreamError as error:
        yield FoundBlock(error)
