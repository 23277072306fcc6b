"""The frame around the blocks of an archive, `.vqga`: the header before them, the index and the footer after them.

    header | block | block | ... | 0 | index | footer

`FORMAT.md` describes it byte by byte. Nothing here needs the models.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO

from vqgen.codec.framing import check_magic, check_seal, flags_of, num_levels_in, seal, version_of
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.varints import read_varint, write_varint
from vqgen.errors import BitstreamError

MAGIC = b"\x89VQA"

MAX_BLOCK_BYTES = 1 << 28
"""Bytes of a block, at most."""

MAX_INDEX_BYTES = 1 << 26
"""Bytes of the index, at most."""

_HEADER = struct.Struct("<4sBB8s8sBB")
_FOOTER = struct.Struct("<II4s")
_END = b"VQAE"

# Bits of the flags, above the two that count the levels. Those above them belong to larger counts.
_STATIC = 4
_PRIOR = 8
_SPARE = 4

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class IndexEntry:
    """The entry of a block in the index.

    Attributes:
        length: Bytes of the block, with the varint of its length before it.
        images: Number of its images.
    """

    length: int
    images: int


@dataclass(frozen=True)
class ArchiveHeader:
    """The part of an archive before its blocks.

    Attributes:
        num_levels: Grids of codes of the VQ-VAE.
        coders: Coders whose models its blocks may need.
        vqvae: First 8 bytes of the VQ-VAE's SHA-256.
        models: Fingerprint of the models that the coders use.
        batch_size: Tiles that the priors evaluate at a time, 1 for whole grids; 0 without priors.
        compute_type: The arithmetic in which the priors run.
    """

    num_levels: int
    coders: frozenset[Coder]
    vqvae: bytes
    models: bytes
    batch_size: int
    compute_type: ComputeType

    def pack(self) -> bytes:
        """Writes the header as bytes, with its CRC-32."""
        count = flags_of(self.num_levels, _SPARE)
        flags = count | (Coder.STATIC in self.coders) * _STATIC | (Coder.PRIOR in self.coders) * _PRIOR
        version = version_of(self.num_levels)
        return seal(_HEADER.pack(MAGIC, version, flags, self.vqvae, self.models, self.batch_size, self.compute_type))

    @staticmethod
    def parse(data: bytes) -> "ArchiveHeader":
        """Reads a header.

        Raises:
            BitstreamError: The file is of another kind or version, is damaged or cut short, or has unknown flags.
        """
        check_magic(data, MAGIC, "an archive of vqgen (.vqga)")
        check_seal(data, _HEADER.size)
        _, version, flags, vqvae, models, batch_size, compute_type = _HEADER.unpack_from(data)
        by_prior = bool(flags & _PRIOR)
        # Packed blocks need no model, so every archive may have them and no flag announces them.
        coders = (
            {Coder.PACKED} | ({Coder.STATIC} if flags & _STATIC else set()) | ({Coder.PRIOR} if by_prior else set())
        )
        num_levels = num_levels_in(version, flags, _SPARE)
        is_known = num_levels > 0 and version == version_of(num_levels) and (version > 1 or flags >> _SPARE == 0)
        supported = is_known and by_prior == (batch_size > 0) and compute_type in list(ComputeType)
        if not supported or by_prior != (compute_type != ComputeType.NONE):
            raise BitstreamError(
                "the archive's header should have flags and a compute shape that this version supports, found flags "
                f"{flags:#04x}, {batch_size} tiles, dtype {compute_type}"
            )
        return ArchiveHeader(num_levels, frozenset(coders), vqvae, models, batch_size, ComputeType(compute_type))


HEADER_BYTES = _HEADER.size + 4


def read_blocks(file: BufferedIOBase) -> Iterator[bytes]:
    """Yields the blocks of an archive from the position of the file to the 0 that ends the blocks.

    Raises:
        BitstreamError: The file is cut short, or a block is too large.
    """
    while size := read_block_size(file):
        # Part by part, so that memory grows with the bytes that the file has and not with the size that it claims.
        data = BytesIO()
        while data.tell() < size and (part := file.read(min(size - data.tell(), _READ_BYTES))):
            data.write(part)
        if data.tell() < size:
            raise cut_block(size, data.tell())
        yield data.getvalue()


def write_index(entries: Sequence[IndexEntry]) -> bytes:
    """Writes the 0 that ends the blocks, the index and the footer."""
    numbers = [len(entries), *(number for entry in entries for number in (entry.length, entry.images))]
    index = b"".join(map(write_varint, numbers))
    # The footer has a fixed length, so a reader finds the index from the end; a writer needs no seeking.
    return write_varint(0) + index + _FOOTER.pack(len(index), zlib.crc32(index), _END)


def read_index(file: BufferedIOBase) -> list[IndexEntry]:
    """Reads the index from the end of an archive, without its blocks.

    Raises:
        BitstreamError: The index is damaged, or the file is cut short.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - _FOOTER.size))
    size, _ = _parse_footer(file.read(_FOOTER.size))
    begin = end - _FOOTER.size - size
    if begin < HEADER_BYTES or size > MAX_INDEX_BYTES:
        raise BitstreamError(f"the index should fit into the archive, found {size} bytes of {end}")
    file.seek(begin)
    entries = parse_index(file.read())
    # The blocks and the 0 behind them must fill the file up to the index; otherwise their offsets would be wrong.
    if HEADER_BYTES + sum(entry.length for entry in entries) + 1 != begin:
        raise BitstreamError("the lengths in the index should fill the archive, and do not; the file is damaged")
    return entries


def parse_index(tail: bytes) -> list[IndexEntry]:
    """Reads the index and the footer.

    Args:
        tail: All bytes after the 0 that ends the blocks.

    Raises:
        BitstreamError: The index is damaged or cut short.
    """
    size, crc = _parse_footer(tail[-_FOOTER.size :])
    index = tail[: -_FOOTER.size]
    if len(index) != size or zlib.crc32(index) != crc:
        raise BitstreamError("the index is damaged: its length or its CRC-32 is wrong")
    count, at = read_varint(index, 0)
    entries = []
    # An entry takes at least two bytes, so a claimed count beyond the size ends the loop early.
    for _ in range(min(count, size)):
        length, at = read_varint(index, at)
        images, at = read_varint(index, at)
        entries.append(IndexEntry(length, images))
    if len(entries) != count or at != size:
        raise BitstreamError(f"the index should have {count} blocks in {size} bytes, found another number")
    return entries


def _parse_footer(footer: bytes) -> tuple[int, int]:
    """Returns the bytes of the index and its CRC-32."""
    if len(footer) < _FOOTER.size or not footer.endswith(_END):
        raise BitstreamError("the archive is cut short: it has no index at its end")
    size, crc, _ = _FOOTER.unpack(footer)
    return size, crc


def read_block_size(file: BufferedIOBase) -> int:
    """Reads the length of the next block, at the position of the file; 0 ends the blocks.

    Raises:
        BitstreamError: The file is cut short, or the block is too large.
    """
    data = b""
    # Byte by byte, as a stream cannot go back.
    while part := file.read(1):
        data += part
        # After more than five bytes `read_varint` refuses the number, so that damage cannot prolong the loop.
        if part[0] < 0x80 or len(data) > 5:
            size, _ = read_varint(data, 0)
            if size > MAX_BLOCK_BYTES:
                raise BitstreamError(f"a block should have at most {MAX_BLOCK_BYTES} bytes, found {size}")
            return size
    raise BitstreamError("the archive is cut short: it ends before its index")


def cut_block(size: int, found: int) -> BitstreamError:
    """Builds the error for a block that is cut short.

    Args:
        size: Bytes that the block should have.
        found: Bytes that are there.
    """
    return BitstreamError(f"the archive is cut short: a block should have {size} bytes, found {found}")
