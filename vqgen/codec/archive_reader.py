"""Reads archives, `.vqga`: block by block from beginning to end, or any image by way of the index."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from itertools import islice
from typing import Generic, TypeVar

from vqgen.arguments import as_binary_file, as_index, as_instance
from vqgen.codec.archive_layout import (
    HEADER_BYTES,
    MAX_INDEX_BYTES,
    ArchiveHeader,
    IndexEntry,
    parse_index,
    read_blocks,
    read_index,
)
from vqgen.codec.block import read_block
from vqgen.codec.codec import Codec
from vqgen.codec.compatibility import check_compute_type, check_models, check_shape
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.segments import CodedStream, Segment, decode_streams
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError

T = TypeVar("T")


@dataclass(frozen=True)
class BlockContent(Generic[T]):
    """The images of a block, or the damage to it.

    Attributes:
        first: Number of its first image in the archive.
        count: Number of its images. A damaged block has the number of the index, or 1 if the index is damaged too.
        images: Something of each image; the reason if the block cannot be read.
    """

    first: int
    count: int
    images: Sequence[T] | BitstreamError


class ArchiveReader:
    """Reads an archive: all images from beginning to end, or any one of them.

    Args:
        file: The archive, in binary; single images need a file that can seek.
        codec: The codec with the models of the archive.

    Attributes:
        codec: The codec.
        header: The header of the archive.

    Raises:
        BitstreamError: This is not an archive, or another pipeline made it.
    """

    def __init__(self, file: BufferedIOBase, codec: Codec) -> None:
        self.codec = as_instance("codec", codec, Codec)
        self._file = as_binary_file("file", file, "read")
        header = ArchiveHeader.parse(file.read(HEADER_BYTES))
        check_models(codec.models, header.vqvae, header.models, header.coders, header.num_levels, header.batch_size)
        check_compute_type(codec.models, header.compute_type)
        self.header = header

    def __iter__(self) -> Iterator[tuple[str | None, ImageCodes]]:
        """Yields name and codes of all images, block after block; only once if the file cannot seek.

        Raises:
            BitstreamError: A block is damaged, or the file is cut short or lacks blocks. The images before it have
                been yielded.
        """
        if self._file.seekable():
            self._file.seek(HEADER_BYTES)
        found = []
        for data in read_blocks(self._file):
            images = self._decode(data)
            found.append(_index_entry(data, len(images)))
            yield from images
        self._check_index(found)

    def blocks(self) -> Iterator[BlockContent[tuple[str | None, ImageCodes]]]:
        """Yields name and codes of all images, block after block; a damaged block leaves the others as they are.

        With a sound index every other block is read. Without it, for instance in an archive that is cut short, only the
        blocks before the damage are.
        """
        return self._each_block(self._decode)

    def names(self) -> Iterator[str | None]:
        """Yields the names of all images, without decoding their codes.

        Raises:
            BitstreamError: A block is damaged, or the file is cut short. The names before it have been yielded.
        """
        for content in self.blocks_of_names():
            if isinstance(content.images, BitstreamError):
                raise content.images
            yield from content.images

    def blocks_of_names(self) -> Iterator[BlockContent[str | None]]:
        """Yields the names of all images, block after block as `blocks`, without decoding their codes."""
        parts = self.codec.parts

        def read(data: bytes) -> list[str | None]:
            block = read_block(data, parts.vqvae.config.grid_factors, len(parts.label_map))
            return [image.name for image in block.images]

        return self._each_block(read)

    def image(self, number: int) -> tuple[str | None, ImageCodes]:
        """Returns name and codes of one image; only its block is read.

        Args:
            number: In [0, num_images()).

        Raises:
            BitstreamError: The index or the block is damaged.
            ConfigError: The number is no whole number.
            IndexError: There is no image of this number.
        """
        number = as_index("number", number)
        first = 0
        offset = HEADER_BYTES  # of the block; the index has lengths, whose sums are offsets
        for entry in read_index(self._file):
            if first <= number < first + entry.images:
                self._file.seek(offset)
                images = [each for data in islice(read_blocks(self._file), 1) for each in self._decode(data)]
                if len(images) != entry.images:
                    raise BitstreamError(f"a block should have {entry.images} images by the index, found {len(images)}")
                return images[number - first]
            first += entry.images
            offset += entry.length
        raise IndexError(f"number: should be in [0, {first}), the images of the archive, found {number}")

    def num_images(self) -> int:
        """Returns the number of images in the index.

        Raises:
            BitstreamError: The index is damaged.
        """
        return sum(entry.images for entry in read_index(self._file))

    def _each_block(self, read: Callable[[bytes], list[T]]) -> Iterator[BlockContent[T]]:
        first = 0
        for data, expected in self._data_of_blocks():
            try:
                if isinstance(data, BitstreamError):
                    raise data
                images = read(data)
                if expected is not None and len(images) != expected:
                    raise BitstreamError(f"a block should have {expected} images by the index, found {len(images)}")
                content = BlockContent(first, len(images), images)
            except BitstreamError as error:
                content = BlockContent(first, 1 if expected is None else expected, error)
            yield content
            first += content.count

    def _data_of_blocks(self) -> Iterator[tuple[bytes | BitstreamError, int | None]]:
        """Yields each block with its number of images, by the index, and the damage between blocks."""
        try:
            entries = read_index(self._file)
        except BitstreamError:
            yield from self._data_in_order()
            return
        offset = HEADER_BYTES
        for entry in entries:
            self._file.seek(offset)
            offset += entry.length
            try:
                # Only the bytes of this block: damage to its length must not reach into the next one.
                yield next(read_blocks(BytesIO(self._file.read(entry.length))), b""), entry.images
            except BitstreamError as error:
                yield error, entry.images

    def _data_in_order(self) -> Iterator[tuple[bytes | BitstreamError, int | None]]:
        """Yields the blocks from the beginning to the first damage between them, and the damage."""
        self._file.seek(HEADER_BYTES)
        try:
            for data in read_blocks(self._file):
                yield data, None
            parse_index(self._file.read(MAX_INDEX_BYTES))
        except BitstreamError as error:
            yield error, None

    def _decode(self, data: bytes) -> list[tuple[str | None, ImageCodes]]:
        return decode_block(self.codec, self.header, data)

    def _check_index(self, found: list[IndexEntry]) -> None:
        # A CRC-32 guards each block; only the index notices that a whole block is missing.
        if parse_index(self._file.read(MAX_INDEX_BYTES)) != found:
            raise BitstreamError("the archive's blocks differ from those in its index; the file is damaged")


def decode_block(codec: Codec, header: ArchiveHeader, data: bytes) -> list[tuple[str | None, ImageCodes]]:
    """Decodes a block of an archive.

    Args:
        codec: The codec with the models of the archive.
        header: The header of the archive.
        data: The block.

    Returns:
        Name and codes of each image.

    Raises:
        BitstreamError: The block is damaged or contradicts the header.
    """
    config = codec.parts.vqvae.config
    block = read_block(data, config.grid_factors, len(codec.parts.label_map))
    # The fingerprint in the header covers the models of the header's coders only.
    if not {segment.coder for segment in block.segments} <= header.coders:
        raise BitstreamError("a block should use only the coders of the archive's header, found another coder")
    # Before the codes are decoded: a label out of range would fail deep inside the prior.
    for image in block.images:
        check_shape(codec.models, image.shape)
    shapes = [image.shape for image in block.images]
    segments: dict[str, Segment] = dict(zip(codec.models.levels, block.segments, strict=True))
    grids = decode_streams(codec.models, [CodedStream(shapes, segments)], header.batch_size)[0]
    if isinstance(grids, BitstreamError):
        raise grids
    return block.checked(grids)


def _index_entry(block: bytes, num_images: int) -> IndexEntry:
    return IndexEntry(len(write_varint(len(block))) + len(block), num_images)
