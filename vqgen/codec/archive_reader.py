"""Reads archives, `.vqga`: block by block from beginning to end, or any image by way of the index."""

from collections.abc import Container, Iterator, Sequence
from io import BufferedIOBase

from vqgen.arguments import as_binary_file, as_index, as_instance
from vqgen.codec.archive_blocks import BlockContent, StoredBlock, block_at, read_each, wrong_count
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
from vqgen.codec.block_head import HeadRules
from vqgen.codec.codec import Codec
from vqgen.codec.compatibility import check_compute_type, check_models, check_shape
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.level_choice import LevelChoice
from vqgen.codec.segments import CodedStream, Segment, decode_streams
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError


class ArchiveReader:
    """Reads an archive: all images from beginning to end, or any one of them.

    Args:
        file: The archive, in binary; single images need a file that can seek.
        codec: The codec with the models of the archive.
        levels: As in `Codec.decompress`. Of a file that can seek only these levels, and coarser ones, are read.
        allow_partial: `blocks` gives previews of the images of the block in which a cut archive ends; see
            `Codec.decompress`.

    Attributes:
        codec: The codec.
        header: The header of the archive.

    Raises:
        BitstreamError: This is not an archive, or another pipeline made it.
        ConfigError: The VQ-VAE has no such level.
    """

    def __init__(
        self,
        file: BufferedIOBase,
        codec: Codec,
        levels: Sequence[str] | None = None,
        *,
        allow_partial: bool = False,
    ) -> None:
        self.codec = as_instance("codec", codec, Codec)
        config = codec.parts.vqvae.config
        self._choice = LevelChoice.of(config, levels, allow_partial)
        self._rules = HeadRules(len(config.levels), config.grid_factors, len(codec.parts.label_map))
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

    def blocks(self, numbers: Container[int] | None = None) -> Iterator[BlockContent[tuple[str | None, ImageCodes]]]:
        """Yields name and codes of all images, block after block; a damaged block leaves the others as they are.

        With a sound index every other block is read. Without it, for instance in an archive that is cut short, only the
        blocks before the damage are.

        Args:
            numbers: Only the blocks that have one of these images are read and yielded; None for all.
        """
        return read_each(self._file, self._rules, self._decode_stored, numbers, self._choice.allow_partial)

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
        """Yields the names of all images, block after block as `blocks`; the codes are not even read."""

        def read(block: StoredBlock) -> list[str | None]:
            return [image.name for image in block.head(self._rules).images]

        return read_each(self._file, self._rules, read, allow_partial=self._choice.allow_partial)

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
                images = self._decode_stored(block_at(self._file, offset, entry))
                if len(images) != entry.images:
                    raise wrong_count(entry.images, len(images))
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

    def _decode_stored(self, block: StoredBlock) -> list[tuple[str | None, ImageCodes]]:
        """Reads a block as far as its levels are asked for, and decodes it."""
        needed = block.size if self._choice.needs_all else block.head(self._rules).ends[self._choice.count - 1]
        return decode_block(self.codec, self.header, block.first(needed), self._choice, block.size, block.found)

    def _decode(self, data: bytes) -> list[tuple[str | None, ImageCodes]]:
        return decode_block(self.codec, self.header, data, self._choice)

    def _check_index(self, found: list[IndexEntry]) -> None:
        # A CRC-32 guards each block; only the index notices that a whole block is missing.
        if parse_index(self._file.read(MAX_INDEX_BYTES)) != found:
            raise BitstreamError("the archive's blocks differ from those in its index; the file is damaged")


def decode_block(
    codec: Codec,
    header: ArchiveHeader,
    data: bytes,
    choice: LevelChoice | None = None,
    size: int | None = None,
    found: int | None = None,
) -> list[tuple[str | None, ImageCodes]]:
    """Decodes a block of an archive.

    Args:
        codec: The codec with the models of the archive.
        header: The header of the archive.
        data: The block, or its beginning.
        choice: The levels to decode; None for all of a whole block.
        size: Bytes of the block; None if the data are the whole block.
        found: Bytes that the file has of it; None if the data are all of them.

    Returns:
        Name and codes of each image.

    Raises:
        BitstreamError: The block is damaged or contradicts the header; or it is cut short, see `LevelChoice.take`.
    """
    config = codec.parts.vqvae.config
    block = read_block(data, config.grid_factors, len(codec.parts.label_map), choice, size, found)
    # The fingerprint in the header covers the models of the header's coders only.
    if not {segment.coder for segment in block.segments} <= header.coders:
        raise BitstreamError("a block should use only the coders of the archive's header, found another coder")
    # Before the codes are decoded: a label out of range would fail deep inside the prior.
    for image in block.images:
        check_shape(codec.models, image.shape)
    shapes = [image.shape for image in block.images]
    segments: dict[str, Segment] = dict(zip(codec.models.levels, block.segments, strict=False))  # may lack fine levels
    grids = decode_streams(codec.models, [CodedStream(shapes, segments)], header.batch_size)[0]
    if isinstance(grids, BitstreamError):
        raise grids
    return block.checked(grids)


def _index_entry(block: bytes, num_images: int) -> IndexEntry:
    return IndexEntry(len(write_varint(len(block))) + len(block), num_images)
