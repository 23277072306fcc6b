"""What stands around the blocks of an archive, `.vqga`: its header before them, its index and footer behind.

    header | block | block | ... | 0 | index | footer

`FORMAT.md` describes it byte by byte. None of it needs the models.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from vqgen.codec.block import read_varint, write_varint
from vqgen.codec.header import Coder, ComputeType, check_magic, check_seal, seal
from vqgen.errors import BitstreamError

MAGIC = b"\x89VQA"
VERSION = 1
MAX_BLOCK_BYTES = 1 << 28
"""Bytes of a block, at most."""

MAX_INDEX_BYTES = 1 << 26
"""Bytes of the index, at most."""

_HEADER = struct.Struct("<4sBB8s8sBB")
_FOOTER = struct.Struct("<II4s")
_END = b"VQAE"


@dataclass(frozen=True)
class IndexEntry:
    """What the index says of a block.

    Attributes:
        length: Its bytes, with the varint of its length before it.
        images: Its images.
    """

    length: int
    images: int


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


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The blocks of an archive from where the file stands, up to the 0 that ends them.

    Raises:
        BitstreamError: The file is cut short, or a block is too large.
    """
    while size := _read_size(file):
        if size > MAX_BLOCK_BYTES:
            raise BitstreamError(f"a block should have at most {MAX_BLOCK_BYTES} bytes, found {size}")
        data = io.BytesIO()
        while data.tell() < size and (part := file.read(min(size - data.tell(), 1 << 20))):  # as large as the file is
            data.write(part)
        if data.tell() < size:
            raise BitstreamError(f"the archive is cut short: a block should have {size} bytes, found {data.tell()}")
        yield data.getvalue()


def write_index(entries: Sequence[IndexEntry]) -> bytes:
    """The 0 that ends the blocks, the index and the footer."""
    numbers = [len(entries), *(number for entry in entries for number in (entry.length, entry.images))]
    index = b"".join(map(write_varint, numbers))
    return write_varint(0) + index + _FOOTER.pack(len(index), zlib.crc32(index), _END)


def read_index(file: BinaryIO) -> list[IndexEntry]:
    """Bytes and images of each block, from the end of the archive.

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
    if HEADER_BYTES + sum(entry.length for entry in entries) + 1 != begin:
        raise BitstreamError("the index does not fit the archive's blocks")
    return entries


def parse_index(tail: bytes) -> list[IndexEntry]:
    """Bytes and images of each block, from all that follows the 0 after the last one.

    Raises:
        BitstreamError: The index is damaged, or cut short.
    """
    size, crc = _parse_footer(tail[-_FOOTER.size :])
    index = tail[: -_FOOTER.size]
    if len(index) != size or zlib.crc32(index) != crc:
        raise BitstreamError("the index is damaged: its length or its CRC-32 is wrong")
    count, at = read_varint(index, 0)
    entries = []
    for _ in range(min(count, size)):
        length, at = read_varint(index, at)
        images, at = read_varint(index, at)
        entries.append(IndexEntry(length, images))
    if len(entries) != count or at != size:
        raise BitstreamError("the index is longer or shorter than it says")
    return entries


def _parse_footer(footer: bytes) -> tuple[int, int]:
    """Bytes of the index, and its CRC-32."""
    if len(footer) < _FOOTER.size or not footer.endswith(_END):
        raise BitstreamError("the archive is cut short: it has no index at its end")
    size, crc, _ = _FOOTER.unpack(footer)
    return size, crc


def _read_size(file: BinaryIO) -> int:
    """The varint at which the file stands."""
    data = b""
    while part := file.read(1):
        data += part
        if part[0] < 0x80 or len(data) > 5:
            return read_varint(data, 0)[0]
    raise BitstreamError("the archive is cut short: it ends before its index")
