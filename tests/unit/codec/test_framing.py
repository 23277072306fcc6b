import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.framing import check_magic, check_seal, flags_of, num_levels_in, seal, version_of
from vqgen.errors import BitstreamError


@given(st.binary(max_size=40), st.binary(max_size=5))
def test_seal_is_the_crc_after_the_data(data, rest):
    assert seal(data) == data + zlib.crc32(data).to_bytes(4, "little")
    check_seal(seal(data) + rest, len(data))


@given(st.binary(min_size=1, max_size=40), st.data())
def test_flipped_bit_breaks_the_seal(data, draws):
    sealed = bytearray(seal(data))
    at = draws.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(BitstreamError, match="header is damaged: its CRC-32 is wrong"):
        check_seal(bytes(sealed), len(data))


def test_missing_seal_is_refused():
    with pytest.raises(BitstreamError, match="cut short: its header should have 7 bytes, found 5"):
        check_seal(b"abcde", 3)


@pytest.mark.parametrize("spare", [4, 5])
def test_number_of_levels_comes_back_from_the_flags(spare):
    for number in range(1, 25):
        flags = flags_of(number, spare)
        assert flags < 256
        assert flags & (1 << spare) - 1 == number & 3  # the bits between belong to other flags
        assert num_levels_in(version_of(number), flags | 4, spare) == number


def test_other_magic_and_other_versions_are_refused():
    check_magic(b"MINE\x02...", b"MINE", "a file")
    check_magic(b"MINE", b"MINE", "a file")
    with pytest.raises(BitstreamError, match=r"this is not a file: it should begin with b'MINE', found b'YOUR'"):
        check_magic(b"YOURS", b"MINE", "a file")
    with pytest.raises(BitstreamError, match="should be version 1 or 2, found 3; update vqgen"):
        check_magic(b"MINE\x03", b"MINE", "a file")
    with pytest.raises(BitstreamError, match="should be version 1 or 2, found 0; the file is damaged"):
        check_magic(b"MINE\x00", b"MINE", "a file")
