"""Writes archives, `.vqga`, block by block.

A block holds neighbouring images, their codes written as one stream, so that small images do not pay for a header each.
"""

from collections import Counter
from typing import BinaryIO

from vqgen.codec.archive_layout import ArchiveHeader, IndexEntry, write_index
from vqgen.codec.archive_reader import decode_block
from vqgen.codec.block import MAX_NAMES, BlockImage, read_block, write_block, write_varint
from vqgen.codec.codec import FALL_BACK, Codec, warn_of_fall_back
from vqgen.codec.header import Coder
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.segments import Stream, encode_streams
from vqgen.errors import BitstreamError, ConfigError

_CODES_PER_BLOCK = 1 << 14
_IMAGES_PER_BLOCK = 4096


class ArchiveWriter:
    """Writes an archive; memory holds the codes of one block.

    Args:
        file: Where to write, in binary; nothing is read from it or sought in it.
        codec: The models.
        coder: As in `Codec.compress`.
        verify: Decode each block again, and write it without the prior where other codes come out.
        with_names: Whether images are stored with their names.

    Attributes:
        header: What stands before the blocks.
        bytes_written: Bytes of the archive so far.
        coders_used: How many levels of blocks each coder wrote.
    """

    def __init__(
        self, file: BinaryIO, codec: Codec, *, coder: str = "auto", verify: bool = True, with_names: bool = True
    ) -> None:
        self.codec, self.offered, self.verify, self.with_names = codec, codec.models.offered(coder), verify, with_names
        self._file, self._waiting, self._index = file, list[BlockImage](), list[IndexEntry]()
        self._waiting_codes = self._waiting_names = 0
        self.coders_used = Counter[Coder]()
        everything = codec.models.offered("auto") & FALL_BACK | self.offered  # a block may fall back
        by_prior = Coder.PRIOR in everything
        self.header = ArchiveHeader(
            num_levels=len(codec.models.levels),
            coders=everything,
            vqvae=codec.models.vqvae_hash,
            models=codec.models.fingerprint(everything),
            batch_size=codec.models.batch_size if by_prior else 0,
        )
        self.bytes_written = file.write(self.header.pack())

    def add(self, codes: ImageCodes, name: str = "") -> None:
        """Appends an image; it is written when its block is full.

        Raises:
            ConfigError: The name is too long for a block, or has a character 0.
        """
        size = len(name.encode(errors="surrogateescape")) + 1 if self.with_names else 0
        if size > MAX_NAMES or (self.with_names and "\0" in name):
            raise ConfigError(f"name: should have less than {MAX_NAMES} bytes and no 0 among them, found {name[:40]!r}")
        if self._waiting_names + size > MAX_NAMES:
            self._write_block()
        self._waiting.append(BlockImage(codes.shape, name if self.with_names else None, codes))
        self._waiting_codes += sum(grid.size for grid in codes.grids.values())
        self._waiting_names += size
        if self._waiting_codes >= _CODES_PER_BLOCK or len(self._waiting) >= _IMAGES_PER_BLOCK:
            self._write_block()

    def finish(self) -> int:
        """Writes what waits, and the index; returns the archive's bytes."""
        if self._waiting:
            self._write_block()
        self.bytes_written += self._file.write(write_index(self._index))
        return self.bytes_written

    def _write_block(self) -> None:
        images, self._waiting, self._waiting_codes, self._waiting_names = self._waiting, [], 0, 0
        data = self._encode(images, self.offered)
        if self.verify and not self._decodes_to(data, images):
            warn_of_fall_back(len(images), len(images), "images of a block")
            data = self._encode(images, self.codec.models.offered("auto") & FALL_BACK)
            assert self._decodes_to(data, images)
        downsample, num_labels = self.codec.parts.vqvae.config.downsample, len(self.codec.parts.label_map)
        self.coders_used.update(segment.coder for segment in read_block(data, downsample, num_labels).segments)
        block = write_varint(len(data)) + data
        self.bytes_written += self._file.write(block)
        self._index.append(IndexEntry(len(block), len(images)))

    def _encode(self, images: list[BlockImage], offered: frozenset[Coder]) -> bytes:
        codes = [image.codes for image in images if image.codes]
        grids = {level: [each.grids[level] for each in codes] for level in self.codec.models.levels}
        segments = encode_streams(self.codec.models, [Stream([image.shape for image in images], grids)], offered)[0]
        return write_block(images, list(segments.values()), len(self.codec.parts.label_map))

    def _decodes_to(self, data: bytes, images: list[BlockImage]) -> bool:
        try:
            decoded = decode_block(self.codec, self.header, data)
        except BitstreamError:
            return False
        return all(image.codes and codes.equals(image.codes) for image, (_, codes) in zip(images, decoded, strict=True))
