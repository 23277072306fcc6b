import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.archive_layout import (
    HEADER_BYTES,
    MAX_BLOCK_BYTES,
    ArchiveHeader,
    IndexEntry,
    parse_index,
    read_blocks,
    read_index,
    write_index,
)
from vqgen.codec.framing import seal
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError

HEADER = ArchiveHeader(2, frozenset({Coder.PACKED, Coder.PRIOR}), b"abcdefgh", b"ijklmnop", 16, ComputeType.FLOAT64)
BLOCKS = st.lists(st.binary(min_size=1, max_size=300), max_size=5)


def archive_of(blocks):
    """An archive of blocks that nobody decodes, of one image each, and its index."""
    written = [write_varint(len(block)) + block for block in blocks]
    entries = [IndexEntry(len(each), 1) for each in written]
    return HEADER.pack() + b"".join(written) + write_index(entries), entries


@pytest.mark.parametrize("coders", [{Coder.PACKED}, {Coder.PACKED, Coder.STATIC}, set(Coder)])
@pytest.mark.parametrize("num_levels", [1, 3, 4, 24])
@pytest.mark.parametrize("of_priors", [ComputeType.FLOAT64, ComputeType.FIXED])
def test_header_comes_back(coders, num_levels, of_priors):
    batch_size, compute_type = (16, of_priors) if Coder.PRIOR in coders else (0, ComputeType.NONE)
    header = ArchiveHeader(num_levels, frozenset(coders), b"abcdefgh", b"ijklmnop", batch_size, compute_type)
    assert len(header.pack()) == HEADER_BYTES
    assert header.pack()[4] == (1 if num_levels <= 3 else 2)
    assert ArchiveHeader.parse(header.pack() + b"rest") == header


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (replace(HEADER, num_levels=0), "flags 0x08, 16 tiles"),
        (replace(HEADER, batch_size=0), "flags 0x0a, 0 tiles"),
        (replace(HEADER, coders=frozenset({Coder.PACKED})), "flags 0x02, 16 tiles, dtype 1"),
        (replace(HEADER, compute_type=ComputeType.NONE), "flags 0x0a, 16 tiles, dtype 0"),
    ],
)
def test_unsupported_headers_are_refused(header, found):
    with pytest.raises(BitstreamError, match=f"flags and a compute shape that this version supports, found {found}"):
        ArchiveHeader.parse(header.pack())


@pytest.mark.parametrize(("version", "flags"), [(1, 0x1A), (2, 0x0A)])
def test_levels_of_another_version_are_refused(version, flags):
    """Version 1 has no more than three levels, and version 2 has more than three."""
    data = HEADER.pack()[:-4]
    with pytest.raises(BitstreamError, match=f"that this version supports, found flags {flags:#04x}, 16 tiles"):
        ArchiveHeader.parse(seal(data[:4] + bytes([version, flags]) + data[6:]))


def test_header_of_another_dtype_is_refused():
    with pytest.raises(BitstreamError, match="16 tiles, dtype 5"):
        ArchiveHeader.parse(seal(HEADER.pack()[:23] + b"\x05"))


def test_other_files_are_refused():
    with pytest.raises(BitstreamError, match="not an archive of vqgen"):
        ArchiveHeader.parse(b"\x89VQG\x01" + bytes(40))


@given(BLOCKS)
def test_blocks_and_index_come_back(blocks):
    data, entries = archive_of(blocks)
    file = io.BytesIO(data)
    file.seek(HEADER_BYTES)
    assert list(read_blocks(file)) == blocks
    assert parse_index(file.read()) == entries
    assert read_index(file) == entries


@given(BLOCKS, st.data())
def test_damaged_index_is_noticed(blocks, data):
    archive, _ = archive_of(blocks)
    index = HEADER_BYTES + sum(len(write_varint(len(block)) + block) for block in blocks) + 1
    damaged = bytearray(archive)
    at = data.draw(st.integers(index * 8, len(archive) * 8 - 1))
    damaged[at // 8] ^= 1 << at % 8
    with pytest.raises(BitstreamError):
        read_index(io.BytesIO(damaged))
    with pytest.raises(BitstreamError):
        read_index(io.BytesIO(archive[: at // 8]))


def test_index_that_does_not_fill_the_archive_is_refused():
    data, entries = archive_of([b"abc"])
    longer = [replace(entries[0], length=entries[0].length + 1)]
    wrong = data[: HEADER_BYTES + 4] + write_index(longer)
    with pytest.raises(BitstreamError, match="lengths in the index should fill the archive"):
        read_index(io.BytesIO(wrong))
    with pytest.raises(BitstreamError, match=r"index should fit into the archive, found 3 bytes of"):
        read_index(io.BytesIO(write_index(entries)))


def test_cut_blocks_are_refused():
    for data, match in [
        (b"\x05abc", "cut short: a block should have 5 bytes, found 3"),
        (b"\x83", "ends before its index"),
        (b"", "ends before its index"),
        (write_varint(MAX_BLOCK_BYTES + 1), "at most 268435456 bytes, found 268435457"),
    ]:
        with pytest.raises(BitstreamError, match=match):
            list(read_blocks(io.BytesIO(data)))
