import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec import packed_coder
from vqgen.codec.packed_coder import pack, unpack
from vqgen.errors import BitstreamError


@given(st.integers(2, 70_000), st.data())
def test_codes_come_back_in_the_fewest_whole_bits(codebook_size, data):
    codes = np.array(data.draw(st.lists(st.integers(0, codebook_size - 1), min_size=1, max_size=20)), dtype=np.int64)
    packed = pack(codes, codebook_size)
    bits = (codebook_size - 1).bit_length()
    assert len(packed) == -(-len(codes) * bits // 8)
    assert unpack(packed, len(codes), codebook_size).tolist() == codes.tolist()


def test_bits_are_those_of_a_string_of_binary_numbers():
    codes = np.array([5, 0, 9, 3])
    expected = int("".join(f"{code:04b}" for code in codes), 2)
    assert pack(codes, 10) == expected.to_bytes(2, "big")


@pytest.mark.parametrize("count", [7, 8, 16, 21, 64])
@pytest.mark.parametrize("codebook_size", [2, 10, 512, 65536])
def test_bytes_do_not_depend_on_the_codes_at_a_time(monkeypatch, count, codebook_size):
    codes = np.random.default_rng(0).integers(0, codebook_size, count)
    whole = pack(codes, codebook_size)
    monkeypatch.setattr(packed_coder, "_CODES_AT_A_TIME", 8)
    assert pack(codes, codebook_size) == whole
    assert (unpack(whole, count, codebook_size) == codes).all()


def test_other_lengths_are_refused():
    with pytest.raises(BitstreamError, match="3 packed codes should take 2 bytes, found 3"):
        unpack(b"abc", 3, 16)


def test_codes_outside_the_codebook_are_refused():
    with pytest.raises(BitstreamError, match="codes should be below 10, found 15"):
        unpack(b"\xf0", 2, 10)
