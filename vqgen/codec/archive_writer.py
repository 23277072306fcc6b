"""Writes archives, `.vqga`, block by block.

A block holds neighbouring images with their codes as one stream, so that small images do not pay for a header each.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase

from vqgen.arguments import as_binary_file, as_flag, as_instance
from vqgen.codec.archive_layout import HEADER_BYTES, ArchiveHeader, IndexEntry, write_index
from vqgen.codec.archive_reader import decode_block
from vqgen.codec.block import read_block, write_block
from vqgen.codec.block_description import MAX_NAMES
from vqgen.codec.codec import FALL_BACK, Codec, warn_of_fall_back
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.image_codes import ImageCodes, check_whole
from vqgen.codec.segments import Stream, encode_streams
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError, ConfigError, DataError

# Reading one image decodes its block, and a damaged block loses all its images; so blocks stay small.
_CODES_PER_BLOCK = 1 << 14
_IMAGES_PER_BLOCK = 4096

_Images = list[tuple[str | None, ImageCodes]]
"""Name and codes of images; all names are None in an archive without names."""


@dataclass(frozen=True)
class WrittenBlocks:
    """The part of an archive that is in the file already: its header and its blocks.

    Attributes:
        header: The header.
        index: The entries of the blocks.
    """

    header: ArchiveHeader
    index: Sequence[IndexEntry]

    @property
    def size(self) -> int:
        """Bytes of the header and the blocks."""
        return HEADER_BYTES + sum(entry.length for entry in self.index)


class ArchiveWriter:
    """Writes an archive; memory holds the codes of one block.

    Args:
        file: The file to write, in binary. The writer neither reads it nor seeks in it.
        codec: The codec with the models of the archive.
        coder: As in `Codec.compress`.
        verify: Decode each block again, and write it without the prior if the codes differ.
        with_names: Store images with their names.
        after: The part that the file has already. New blocks use the coders that its header names.

    Attributes:
        header: The header of the archive.
        bytes_written: Bytes of the archive so far.
        coders_used: Coder -> number of levels of blocks that it wrote.

    Raises:
        ConfigError: `coder` is unknown, the pipeline lacks its models, or the archive that exists does not use it.
    """

    def __init__(
        self,
        file: BufferedIOBase,
        codec: Codec,
        *,
        coder: str = "auto",
        verify: bool = True,
        with_names: bool = True,
        after: WrittenBlocks | None = None,
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
        if after is None:
            self.header = self._new_header()
            self.bytes_written = file.write(self.header.pack())
        else:
            self.header = as_instance("after", after, WrittenBlocks).header
            self._index += after.index
            self.bytes_written = after.size
            self.offered = self._allowed(coder)
        # The others compute with integers and never fall back.
        self._fall_back = self.offered - {Coder.PRIOR}
        if Coder.PRIOR in self.offered:
            self._fall_back = codec.models.offered("auto") & FALL_BACK & self.header.coders

    def _new_header(self) -> ArchiveHeader:
        """Describes the models that blocks may use."""
        models = self.codec.models
        # A block of a prior may fall back, so the header then includes the coders without a prior. A packed archive
        # needs no model to be read.
        coders = self.offered
        if Coder.PRIOR in coders:
            coders |= models.offered("auto") & FALL_BACK
        return ArchiveHeader(
            num_levels=len(models.levels),
            coders=coders,
            vqvae=models.vqvae_hash,
            models=models.fingerprint(coders),
            batch_size=models.batch_size if Coder.PRIOR in coders else 0,
            compute_type=models.compute_type if Coder.PRIOR in coders else ComputeType.NONE,
        )

    def _allowed(self, coder: str) -> frozenset[Coder]:
        """Returns the coders of a request that the header of an existing archive names."""
        allowed = self.offered & self.header.coders
        if not allowed:
            known = ", ".join(each.name.lower() for each in sorted(self.header.coders))
            raise ConfigError(
                f"coder: should be one of auto, {known}, which the header of the archive names, found {coder}; write "
                "another archive for it"
            )
        return allowed

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
        stream = Stream([each.shape for each in codes], grids)
        # The tiles that the header names: another version may have written it.
        segments = encode_streams(self.codec.models, [stream], offered, self.header.batch_size or None)[0]
        names = [name for name, _ in images]
        return write_block(codes, names, list(segments.values()), len(self.codec.parts.label_map))

    def _decodes_to(self, data: bytes, images: _Images) -> bool:
        try:
            decoded = decode_block(self.codec, self.header, data)
        except BitstreamError:
            return False
        return all(found.equals(codes) for (_, codes), (_, found) in zip(images, decoded, strict=True))
