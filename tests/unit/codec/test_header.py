import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.file_start import read_file
from vqgen.codec.framing import seal
from vqgen.codec.header import Coder, ComputeType, Header, LevelHeader, read_header
from vqgen.errors import BitstreamError


def make(**changes):
    header = Header(
        width=30, height=17, rgb=True, label=3, vqvae=b"abcdefgh", models=b"ijklmnop", batch_size=16,
        compute_type=ComputeType.FLOAT64, codes_crc=0xDEADBEEF,
        levels=(LevelHeader(Coder.PACKED, 5, 8, 20), LevelHeader(Coder.PRIOR, 10, 16, 70)), alpha_length=9,
    )  # fmt: skip
    return replace(header, **changes)


def file_of(header):
    return header.pack() + bytes(sum(level.length for level in header.levels) + (header.alpha_length or 0))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label": None, "alpha_length": None, "rgb": False},
        {"levels": (LevelHeader(Coder.STATIC, 1, 1, 1),), "batch_size": 0, "compute_type": ComputeType.NONE},
        {"levels": (LevelHeader(Coder.PRIOR, 1, 1, 1),) * 3, "width": 65535, "height": 1},
        {"levels": (LevelHeader(Coder.PRIOR, 1, 1, 1),) * 4},
        {"batch_size": 1, "compute_type": ComputeType.FIXED},
        {"levels": (LevelHeader(Coder.PRIOR, 1, 1, 1),) * 31, "label": None},
    ],
)
def test_written_header_is_read(changes):
    header = make(**changes)
    data = file_of(header)
    assert data[4] == (1 if len(header.levels) <= 3 else 2)
    assert read_header(data) == (header, len(header.pack()))


def test_file_of_version_2_with_few_levels_is_refused():
    data = make().pack()[:-4]
    with pytest.raises(BitstreamError, match="more than 3 levels and known flags, found flags 0x1e"):
        read_header(seal(data[:4] + b"\x02" + data[5:]))


def test_bytes_are_those_of_the_description():
    data = make().pack()
    assert len(data) == 34 + 2 * 9 + 4 + 4
    assert data[:6] == b"\x89VQG\x01" + bytes([2 + 4 + 8 + 16])
    assert struct.unpack_from("<HH", data, 6) == (30, 17)
    assert data[10:26] == b"abcdefghijklmnop"
    assert struct.unpack_from("<BBHI", data, 26) == (16, 1, 3, 0xDEADBEEF)
    assert struct.unpack_from("<BHHI", data, 43) == (2, 10, 16, 70)
    assert struct.unpack_from("<II", data, 52) == (9, zlib.crc32(data[:56]))


@given(st.data())
def test_flipped_bit_is_noticed(data):
    header = bytearray(file_of(make()))
    at = data.draw(st.integers(0, len(make().pack()) * 8 - 1))
    header[at // 8] ^= 1 << at % 8
    with pytest.raises(BitstreamError):
        read_header(bytes(header))


@given(st.integers(0, 200))
def test_cut_is_noticed(length):
    data = file_of(make())
    with pytest.raises(BitstreamError):
        read_header(data[: min(length, len(data) - 1)])


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(BitstreamError):
        read_header(data)
    with pytest.raises(BitstreamError):
        read_header(b"\x89VQG\x01" + data)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"width": 65535, "height": 65535}, "1 to 67108864 pixels, found 65535 x 65535"),
        ({"width": 0}, "found 0 x 17"),
        ({"levels": (LevelHeader(Coder.PRIOR, 60000, 60000, 2**32 - 1),) * 2}, "at most 33554432 codes together"),
        ({"levels": (LevelHeader(Coder.PRIOR, 4000, 4000, 100),)}, "4000 x 4000 codes cannot have a segment of 100"),
        ({"levels": (LevelHeader(Coder.PRIOR, 2, 2, 4000),)}, "cannot have a segment of 4000"),
        ({"levels": (LevelHeader(Coder.PRIOR, 0, 2, 0),)}, "cannot have a segment"),
        ({"levels": ()}, "1 to 3 levels"),
        ({"batch_size": 0}, "compute shape should fit its coders, found 0 tiles in float64 with a prior"),
        ({"compute_type": ComputeType.NONE}, "found 16 tiles in none with a prior"),
        ({"levels": (LevelHeader(Coder.PACKED, 2, 2, 2),)}, "found 16 tiles in float64 without a prior"),
    ],
)
def test_impossible_claims_are_refused_though_the_crc_is_right(changes, match):
    with pytest.raises(BitstreamError, match=match):
        read_header(make(**changes).pack() + b"\0" * 500)


def test_other_versions_and_other_files_are_named():
    data = bytearray(file_of(make()))
    data[4] = 3
    with pytest.raises(BitstreamError, match=r"should be version 1 or 2, found 3; update vqgen"):
        read_header(bytes(data))
    with pytest.raises(BitstreamError, match=r"not a compressed image .* found b'\\x89PNG'"):
        read_header(b"\x89PNG\r\n\x1a\n")


def test_files_of_another_length_than_the_header_gives_are_refused():
    data = file_of(make())
    with pytest.raises(BitstreamError, match=f"too long: by its header it should have {len(data)} bytes, found"):
        read_header(data + b"x")
    with pytest.raises(BitstreamError, match=f"cut short: by its header it should have {len(data)} bytes, found"):
        read_header(data[:-1])
    with pytest.raises(BitstreamError, match="its header should have more than 34 bytes, found 20"):
        read_header(data[:20])


def test_file_longer_than_any_is_not_even_read(tmp_path):
    path = tmp_path / "huge.vqg"
    with path.open("wb") as file:
        file.truncate(2**28 + 1)  # takes no room on the disk
    with pytest.raises(BitstreamError, match="at most 268435456 bytes, found 268435457"):
        read_file(path)
    path.write_bytes(b"abc")
    assert read_file(path) == b"abc"


def test_unknown_coder_is_named():
    data = bytearray(make().pack()[:-4])
    data[34] = 7
    with pytest.raises(BitstreamError, match="does not support: 7"):
        read_header(bytes(data) + struct.pack("<I", zlib.crc32(data)) + bytes(99))
