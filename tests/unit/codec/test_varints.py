import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.varints import read_byte, read_varint, write_varint
from vqgen.errors import BitstreamError


@given(st.integers(0, 2**35 - 1), st.binary(max_size=4))
def test_varint_comes_back_with_the_offset_of_its_end(number, rest):
    data = write_varint(number)
    assert len(data) == max(1, -(-number.bit_length() // 7))
    assert read_varint(data + rest, 0) == (number, len(data))
    assert read_varint(rest + data, len(rest)) == (number, len(rest) + len(data))


@given(st.integers(0, 2**35 - 1))
def test_cut_varint_is_refused(number):
    with pytest.raises(BitstreamError, match="a block is cut short"):
        read_varint(write_varint(number)[:-1], 0)


def test_varint_without_end_is_refused():
    with pytest.raises(BitstreamError, match="should have at most 5 bytes, found more"):
        read_varint(b"\xff" * 9, 0)


def test_byte_beyond_the_end_is_refused():
    assert read_byte(b"ab", 1) == (ord("b"), 2)
    with pytest.raises(BitstreamError, match="should have more than its 2 bytes"):
        read_byte(b"ab", 2)
