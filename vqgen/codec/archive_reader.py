"""Reads archives, `.vqga`: from begin to end, block by block, or any image by way of the index."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from vqgen.codec.archive_layout import (
    HEADER_BYTES,
    MAX_INDEX_BYTES,
    ArchiveHeader,
    IndexEntry,
    parse_index,
    read_blocks,
    read_index,
)
from vqgen.codec.block import read_block, write_varint
from vqgen.codec.codec import Codec
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.segments import CodedStream, Segment, decode_streams
from vqgen.errors import BitstreamError


class ArchiveReader:
    """Reads an archive: from begin to end, or any of its images.

    Args:
        file: The archive, in binary; access to single images needs to seek in it.
        codec: The models.

    Raises:
        BitstreamError: This is no archive, or another pipeline made it.
    """

    def __init__(self, file: BinaryIO, codec: Codec) -> None:
        self.codec, self._file = codec, file
        self.header = ArchiveHeader.parse(file.read(HEADER_BYTES))
        header = self.header
        codec.check_models(header.vqvae, header.models, header.coders, header.num_levels, header.batch_size)

    def __iter__(self) -> Iterator[tuple[str | None, ImageCodes]]:
        """Name and codes of all images, block after block; of a file that cannot seek, once.

        Raises:
            BitstreamError: A block is damaged, or the file is cut short or lacks blocks; the images before have been
                handed out.
        """
        if self._file.seekable():
            self._file.seek(HEADER_BYTES)
        found = []
        for data in read_blocks(self._file):
            images = self._decode(data)
            found.append(IndexEntry(len(write_varint(len(data))) + len(data), len(images)))
            yield from images
        self._check_index(found)

    def names(self) -> Iterator[str | None]:
        """Names of all images, without decoding them.

        Raises:
            BitstreamError: As when iterating; the names before have been handed out.
        """
        self._file.seek(HEADER_BYTES)
        downsample, num_labels = self.codec.parts.vqvae.config.downsample, len(self.codec.parts.label_map)
        found = []
        for data in read_blocks(self._file):
            images = read_block(data, downsample, num_labels).images
            found.append(IndexEntry(len(write_varint(len(data))) + len(data), len(images)))
            yield from (image.name for image in images)
        self._check_index(found)

    def image(self, number: int) -> tuple[str | None, ImageCodes]:
        """Name and codes of one image; its block alone is read.

        Args:
            number: In [0, num_images()).

        Raises:
            BitstreamError: The index or the block is damaged.
            IndexError: There is no such image.
        """
        first, offset = 0, HEADER_BYTES
        for entry in read_index(self._file):
            if first <= number < first + entry.images:
                self._file.seek(offset)
                images = [each for data in islice(read_blocks(self._file), 1) for each in self._decode(data)]
                if len(images) != entry.images:
                    raise BitstreamError(f"a block should have {entry.images} images by the index, found {len(images)}")
                return images[number - first]
            first, offset = first + entry.images, offset + entry.length
        raise IndexError(f"the archive should have an image {number}, it has {first}")

    def num_images(self) -> int:
        """Images of the archive, by its index.

        Raises:
            BitstreamError: The index is damaged.
        """
        return sum(entry.images for entry in read_index(self._file))

    def _decode(self, data: bytes) -> list[tuple[str | None, ImageCodes]]:
        return decode_block(self.codec, self.header, data)

    def _check_index(self, found: list[IndexEntry]) -> None:
        if parse_index(self._file.read(MAX_INDEX_BYTES)) != found:
            raise BitstreamError("the archive's blocks are not those that its index names")


def decode_block(codec: Codec, header: ArchiveHeader, data: bytes) -> list[tuple[str | None, ImageCodes]]:
    """Name and codes of each image of a block.

    Raises:
        BitstreamError: The block is damaged, or was made otherwise than the header says.
    """
    config = codec.parts.vqvae.config
    block = read_block(data, config.downsample, len(codec.parts.label_map))
    if not {segment.coder for segment in block.segments} <= header.coders:
        raise BitstreamError("a block uses a coder that the archive's header does not name")
    for image in block.images:
        codec.check_shape(image.shape)
    shapes = [image.shape for image in block.images]
    segments: dict[str, Segment] = dict(zip(codec.models.levels, block.segments, strict=True))
    grids = decode_streams(codec.models, [CodedStream(shapes, segments)], header.batch_size)[0]
    if isinstance(grids, BitstreamError):
        raise grids
    return block.checked(grids)
