"""Archives of many images, `.vqga`: written and read block by block, with an index for access to any image.

    header | block | block | ... | 0 | index | footer

A block holds neighbouring images, their codes written as one stream, so that small images do not pay for a header each.
`FORMAT.md` describes it byte by byte.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vqgen.codec.block import Block, BlockImage, read_block, read_varint, write_block, write_varint
from vqgen.codec.codec import FALL_BACK, Codec, warn_of_fall_back
from vqgen.codec.header import Coder, ComputeType, check_magic, check_seal, seal
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.segments import CodedStream, Segment, Stream, decode_streams, encode_streams
from vqgen.errors import BitstreamError

MAGIC = b"\x89VQA"
VERSION = 1
MAX_BLOCK_BYTES = 1 << 28
"""Bytes of a block, at most."""

_HEADER = struct.Struct("<4sBB8s8sBB")
_FOOTER = struct.Struct("<II4s")
_END = b"VQAE"
_MAX_INDEX_BYTES = 1 << 26
_CODES_PER_BLOCK = 1 << 14
_IMAGES_PER_BLOCK = 4096


@dataclass(frozen=True)
class ArchiveHeader:
    """What an archive says before its blocks.

    Attributes:
        num_levels: Levels of the VQ-VAE.
        coders: Coders whose models its blocks may need.
        vqvae: First 8 bytes of the VQ-VAE's SHA-256.
        models: Fingerprint of the models that the coders use.
        batch_size: Tiles that the priors are run with at once; 0 without priors.
    """

    num_levels: int
    coders: frozenset[Coder]
    vqvae: bytes
    models: bytes
    batch_size: int

    def pack(self) -> bytes:
        """The header's bytes."""
        flags = self.num_levels | (Coder.STATIC in self.coders) * 4 | (Coder.PRIOR in self.coders) * 8
        compute_type = ComputeType.FLOAT64 if Coder.PRIOR in self.coders else ComputeType.NONE
        return seal(_HEADER.pack(MAGIC, VERSION, flags, self.vqvae, self.models, self.batch_size, compute_type))

    @staticmethod
    def parse(data: bytes) -> "ArchiveHeader":
        """Reads a header.

        Raises:
            BitstreamError: It is none, or of another version, damaged, cut, or not known here.
        """
        check_magic(data, MAGIC, VERSION, "archive of vqgen (.vqga)")
        check_seal(data, _HEADER.size)
        _, _, flags, vqvae, models, batch_size, compute_type = _HEADER.unpack_from(data)
        coders = {Coder.PACKED} | ({Coder.STATIC} if flags & 4 else set()) | ({Coder.PRIOR} if flags & 8 else set())
        by_prior = Coder.PRIOR in coders
        known = flags >> 4 == 0 and flags & 3 and by_prior == (batch_size > 0)
        if not known or compute_type != (ComputeType.FLOAT64 if by_prior else ComputeType.NONE):
            raise BitstreamError("the archive's header says what this version does not know")
        return ArchiveHeader(flags & 3, frozenset(coders), vqvae, models, batch_size)


HEADER_BYTES = _HEADER.size + 4


class ArchiveWriter:
    """Writes an archive; memory holds the codes of one block.

    Args:
        file: Where to write, in binary; nothing is read from it or sought in it.
        codec: The models.
        coder: As in `Codec.compress`.
        verify: Decode each block again, and write it without the prior where other codes come out.
        with_names: Whether images are stored with their names.
    """

    def __init__(
        self, file: BinaryIO, codec: Codec, *, coder: str = "auto", verify: bool = True, with_names: bool = True
    ) -> None:
        self.codec, self.offered, self.verify, self.with_names = codec, codec.models.offered(coder), verify, with_names
        self._file, self._waiting, self._index = file, list[BlockImage](), list[tuple[int, int]]()
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
        """Appends an image; it is written when its block is full."""
        self._waiting.append(BlockImage(codes.shape, name if self.with_names else None, codes))
        held = sum(grid.size for image in self._waiting if image.codes for grid in image.codes.grids.values())
        if held >= _CODES_PER_BLOCK or len(self._waiting) >= _IMAGES_PER_BLOCK:
            self._write_block()

    def finish(self) -> int:
        """Writes what waits, and the index; returns the archive's bytes."""
        if self._waiting:
            self._write_block()
        index = write_varint(len(self._index)) + b"".join(write_varint(n) for entry in self._index for n in entry)
        footer = _FOOTER.pack(len(index), zlib.crc32(index), _END)
        self.bytes_written += self._file.write(write_varint(0) + index + footer)
        return self.bytes_written

    def _write_block(self) -> None:
        images, self._waiting = self._waiting, []
        data = self._encode(images, self.offered)
        if self.verify and not self._decodes_to(data, images):
            warn_of_fall_back(len(images), len(images), "images of a block")
            data = self._encode(images, self.codec.models.offered("auto") & FALL_BACK)
        self.coders_used.update(segment.coder for segment in self._read(data).segments)
        block = write_varint(len(data)) + data
        self.bytes_written += self._file.write(block)
        self._index.append((len(block), len(images)))

    def _encode(self, images: list[BlockImage], offered: frozenset[Coder]) -> bytes:
        codes = [image.codes for image in images if image.codes]
        grids = {level: [each.grids[level] for each in codes] for level in self.codec.models.levels}
        segments = encode_streams(self.codec.models, [Stream([image.shape for image in images], grids)], offered)[0]
        return write_block(images, list(segments.values()), len(self.codec.parts.label_map))

    def _read(self, data: bytes) -> Block:
        return read_block(data, self.codec.parts.vqvae.config.downsample, len(self.codec.parts.label_map))

    def _decodes_to(self, data: bytes, images: list[BlockImage]) -> bool:
        try:
            decoded = decode_block(self.codec, self.header, data)
        except BitstreamError:
            return False
        return all(image.codes and codes.equals(image.codes) for image, (_, codes) in zip(images, decoded, strict=True))


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
        codec.check_models(self.header.vqvae, self.header.models, self.header.coders, self.header.num_levels)

    def __iter__(self) -> Iterator[tuple[str | None, ImageCodes]]:
        """Name and codes of all images, from where the file stands, block after block.

        Raises:
            BitstreamError: A block is damaged, or the file is cut short or lacks blocks; the images before have been
                handed out.
        """
        found = []
        for data in read_blocks(self._file):
            images = decode_block(self.codec, self.header, data)
            found.append((len(write_varint(len(data))) + len(data), len(images)))
            yield from images
        if _parse_index(self._file.read(_MAX_INDEX_BYTES)) != found:
            raise BitstreamError("the archive's blocks are not those that its index names")

    def image(self, number: int) -> tuple[str | None, ImageCodes]:
        """Name and codes of one image; its block alone is read.

        Args:
            number: In [0, num_images()).

        Raises:
            BitstreamError: The index or the block is damaged.
            IndexError: There is no such image.
        """
        first, offset = 0, HEADER_BYTES
        for size, count in read_index(self._file):
            if number < first + count:
                self._file.seek(offset)
                return decode_block(self.codec, self.header, next(read_blocks(self._file)))[number - first]
            first, offset = first + count, offset + size
        raise IndexError(f"the archive should have an image {number}, it has {first}")

    def names(self) -> list[str | None]:
        """Names of all images, without decoding them.

        Raises:
            BitstreamError: As when iterating.
        """
        self._file.seek(HEADER_BYTES)
        config, num_labels = self.codec.parts.vqvae.config, len(self.codec.parts.label_map)
        blocks = (read_block(data, config.downsample, num_labels) for data in read_blocks(self._file))
        names = [image.name for block in blocks for image in block.images]
        self._file.seek(HEADER_BYTES)
        return names

    def num_images(self) -> int:
        """Images of the archive, by its index.

        Raises:
            BitstreamError: The index is damaged.
        """
        return sum(count for _, count in read_index(self._file))


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The blocks of an archive from where the file stands, up to the 0 that ends them.

    Raises:
        BitstreamError: The file is cut short, or a block is too large.
    """
    while size := _read_size(file):
        if size > MAX_BLOCK_BYTES:
            raise BitstreamError(f"a block should have at most {MAX_BLOCK_BYTES} bytes, found {size}")
        data = b""
        while len(data) < size and (part := file.read(min(size - len(data), 1 << 20))):  # nothing larger than the file
            data += part
        if len(data) < size:
            raise BitstreamError(f"the archive is cut short: a block should have {size} bytes, found {len(data)}")
        yield data


def read_index(file: BinaryIO) -> list[tuple[int, int]]:
    """Bytes and images of each block, from the end of the archive.

    Raises:
        BitstreamError: The index is damaged, or the file is cut short.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - _FOOTER.size))
    size, _ = _parse_footer(file.read(_FOOTER.size))
    begin = end - _FOOTER.size - size
    if begin < HEADER_BYTES or size > _MAX_INDEX_BYTES:
        raise BitstreamError(f"the index should fit into the archive, found {size} bytes of {end}")
    file.seek(begin)
    entries = _parse_index(file.read())
    if HEADER_BYTES + sum(length for length, _ in entries) + 1 != begin:
        raise BitstreamError("the index does not fit the archive's blocks")
    return entries


def _parse_footer(footer: bytes) -> tuple[int, int]:
    """Bytes of the index, and its CRC-32."""
    if len(footer) < _FOOTER.size or not footer.endswith(_END):
        raise BitstreamError("the archive is cut short: it has no index at its end")
    size, crc, _ = _FOOTER.unpack(footer)
    return size, crc


def _parse_index(tail: bytes) -> list[tuple[int, int]]:
    """Bytes and images of each block, from all that follows the 0 after the last one."""
    size, crc = _parse_footer(tail[-_FOOTER.size :])
    index = tail[: -_FOOTER.size]
    if len(index) != size or zlib.crc32(index) != crc:
        raise BitstreamError("the index is damaged: its length or its CRC-32 is wrong")
    count, at = read_varint(index, 0)
    entries = []
    for _ in range(min(count, size)):
        length, at = read_varint(index, at)
        images, at = read_varint(index, at)
        entries.append((length, images))
    if len(entries) != count or at != size:
        raise BitstreamError("the index is longer or shorter than it says")
    return entries


def decode_block(codec: Codec, header: ArchiveHeader, data: bytes) -> list[tuple[str | None, ImageCodes]]:
    """Name and codes of each image of a block.

    Raises:
        BitstreamError: The block is damaged, or was made otherwise than the header says.
    """
    config = codec.parts.vqvae.config
    block: Block = read_block(data, config.downsample, len(codec.parts.label_map))
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


def _read_size(file: BinaryIO) -> int:
    """The varint at which the file stands."""
    data = b""
    while part := file.read(1):
        data += part
        if part[0] < 0x80 or len(data) > 5:
            return read_varint(data, 0)[0]
    raise BitstreamError("the archive is cut short: it ends before its index")
