"""Writes archives, `.vqga`, block by block.

A block holds neighbouring images with their codes as one stream, so that small images do not pay for a header each.
"""

from collections import Counter
from io import BufferedIOBase

from vqgen.arguments import as_binary_file, as_flag, as_instance
from vqgen.codec.archive_layout import ArchiveHeader, IndexEntry, write_index
from vqgen.codec.archive_reader import decode_block
from vqgen.codec.block import read_block, write_block
from vqgen.codec.block_description import MAX_NAMES
from vqgen.codec.codec import FALL_BACK, Codec, warn_of_fall_back
from vqgen.codec.header import Coder
from vqgen.codec.image_codes import ImageCodes, check_whole
from vqgen.codec.segments import Stream, encode_streams
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError, DataError

# Reading one image decodes its block, and a damaged block loses all its images; so blocks stay small.
_CODES_PER_BLOCK = 1 << 14
_IMAGES_PER_BLOCK = 4096

_Images = list[tuple[str | None, ImageCodes]]
"""Name and codes of images; all names are None in an archive without names."""


class ArchiveWriter:
    """Writes an archive; memory holds the codes of one block.

    Args:
        file: The file to write, in binary. The writer neither reads it nor seeks in it.
        codec: The codec with the models of the archive.
        coder: As in `Codec.compress`.
        verify: Decode each block again, and write it without the prior if the codes differ.
        with_names: Store images with their names.

    Attributes:
        header: The header of the archive.
        bytes_written: Bytes of the archive so far.
        coders_used: Coder -> number of levels of blocks that it wrote.

    Raises:
        ConfigError: `coder` is unknown, or the pipeline lacks its models.
    """

    def __init__(
        self, file: BufferedIOBase, codec: Codec, *, coder: str = "auto", verify: bool = True, with_names: bool = True
    ) -> None:
        self.codec = as_instance("codec", codec, Codec)
        self.offered = codec.models.offered(coder)
        self.verify = as_flag("verify", verify)
        self.with_names = as_flag("with_names", with_names)
        self.coders_used = Counter[Coder]()
        self._file = as_binary_file("file", file, "write")
        self._index: list[IndexEntry] = []
        self._waiting: _Images = []
        self._waiting_codes = 0
        self._waiting_names = 0
        # A block of a prior may fall back, so the header then includes the coders without a prior. The others compute
        # with integers and never do: a packed archive needs no model to be read.
        needs_fall_back = Coder.PRIOR in self.offered
        self._fall_back = codec.models.offered("auto") & FALL_BACK if needs_fall_back else self.offered
        coders = self._fall_back | self.offered
        self.header = ArchiveHeader(
            num_levels=len(codec.models.levels),
            coders=coders,
            vqvae=codec.models.vqvae_hash,
            models=codec.models.fingerprint(coders),
            batch_size=codec.models.batch_size if Coder.PRIOR in coders else 0,
        )
        self.bytes_written = file.write(self.header.pack())

    def add(self, codes: ImageCodes, name: str = "") -> None:
        """Appends an image; it is written when its block is full.

        Args:
            codes: The image.
            name: Its name, ignored in an archive without names.

        Raises:
            DataError: The name is too long for a block, or contains a character 0, a level is missing, or a value is of
                a wrong type. Nothing is added.
        """
        check_whole(as_instance("codes", codes, ImageCodes, error=DataError), self.codec.models.levels)
        as_instance("name", name, str, "a string", DataError)
        size = len(name.encode(errors="surrogateescape")) + 1 if self.with_names else 0
        # A 0 separates the names in a block.
        if size > MAX_NAMES or (self.with_names and "\0" in name):
            raise DataError(f"name: should have less than {MAX_NAMES} bytes and no 0 among them, found {name[:40]!r}")
        if self._waiting_names + size > MAX_NAMES:
            self._write_block()
        self._waiting.append((name if self.with_names else None, codes))
        self._waiting_codes += sum(grid.size for grid in codes.grids.values())
        self._waiting_names += size
        if self._waiting_codes >= _CODES_PER_BLOCK or len(self._waiting) >= _IMAGES_PER_BLOCK:
            self._write_block()

    def finish(self) -> int:
        """Writes the last block and the index; returns the length of the archive in bytes."""
        if self._waiting:
            self._write_block()
        self.bytes_written += self._file.write(write_index(self._index))
        return self.bytes_written

    def _write_block(self) -> None:
        images = self._waiting
        self._waiting = []
        self._waiting_codes = 0
        self._waiting_names = 0
        data = self._encode(images, self.offered)
        if self.verify and not self._decodes_to(data, images):
            warn_of_fall_back(len(images), len(images), "images of a block")
            data = self._encode(images, self._fall_back)
            assert self._decodes_to(data, images)
        # The coders come from the block itself, because it may have fallen back.
        parts = self.codec.parts
        segments = read_block(data, parts.vqvae.config.grid_factors, len(parts.label_map)).segments
        self.coders_used.update(segment.coder for segment in segments)
        block = write_varint(len(data)) + data
        self.bytes_written += self._file.write(block)
        self._index.append(IndexEntry(len(block), len(images)))

    def _encode(self, images: _Images, offered: frozenset[Coder]) -> bytes:
        codes = [each for _, each in images]
        grids = {level: [each.grids[level] for each in codes] for level in self.codec.models.levels}
        segments = encode_streams(self.codec.models, [Stream([each.shape for each in codes], grids)], offered)[0]
        names = [name for name, _ in images]
        return write_block(codes, names, list(segments.values()), len(self.codec.parts.label_map))

    def _decodes_to(self, data: bytes, images: _Images) -> bool:
        try:
            decoded = decode_block(self.codec, self.header, data)
        except BitstreamError:
            return False
        return all(found.equals(codes) for (_, codes), (_, found) in zip(images, decoded, strict=True))
