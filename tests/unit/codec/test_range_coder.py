"""A range decoder written from FORMAT.md alone reads the bytes, which also proves that the integers are exact."""

from contextlib import suppress

import numpy as np
import pytest
from format_reader import naive_decode
from hypothesis import given, settings
from hypothesis import strategies as st

from vqgen.codec import range_coder
from vqgen.codec.frequencies import frequencies_of_weights
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.errors import BitstreamError


def case(seed, count, size, sharpness):
    rng = np.random.default_rng(seed)
    tables = frequencies_of_weights((rng.random((count, size)) ** sharpness * 2**30).astype(np.int64) + 1)
    codes = np.array([rng.choice(size, p=table / table.sum()) for table in tables], dtype=np.int64)
    return tables, codes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 40), st.sampled_from([0.1, 3, 40]))
def test_written_codes_are_read_by_us_and_by_the_description(seed, count, size, sharpness):
    tables, codes = case(seed, count, size, sharpness)
    encoder = RangeEncoder()
    cut = seed % (count + 1)
    encoder.append(codes[:cut], tables[:cut])
    encoder.append(codes[cut:], tables[cut:])
    data = encoder.finish()
    assert naive_decode(data, tables.tolist()) == codes.tolist()
    decoder = RangeDecoder(data)
    assert decoder.take(cut, tables[:cut]).tolist() == codes[:cut].tolist()
    assert decoder.take(count - cut, tables[cut:]).tolist() == codes[cut:].tolist()
    ideal = -np.log2(tables[np.arange(count), codes] / 2**24).sum() / 8
    assert len(data) <= ideal + 4.1


def test_one_table_serves_all_codes():
    tables, _ = case(1, 1, 9, 1)
    codes = np.random.default_rng(0).integers(0, 9, 500)
    encoder = RangeEncoder()
    encoder.append(codes, tables[0])
    data = encoder.finish()
    assert RangeDecoder(data).take(500, tables[0]).tolist() == codes.tolist()
    assert naive_decode(data, [tables[0].tolist()] * 500) == codes.tolist()


def test_excess_over_many_codes_is_tiny():
    tables, codes = case(2, 20_000, 16, 3)
    encoder = RangeEncoder()
    encoder.append(codes, tables)
    ideal = -np.log2(tables[np.arange(len(codes)), codes] / 2**24).sum() / 8
    assert ideal - 1 < len(encoder.finish()) < ideal * 1.0005 + 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_last_byte_is_needed(seed, count):
    """A stream with a byte less decodes to other codes: the end is as short as it can be with zeros beyond it."""
    tables, codes = case(seed, count, 9, 3)
    encoder = RangeEncoder()
    encoder.append(codes, tables)
    data = encoder.finish()
    assert not data.endswith(b"\0")
    with suppress(IndexError):  # bytes that no encoder writes, which belong to no code
        assert not data or naive_decode(data[:-1], tables.tolist()) != codes.tolist()


def test_bytes_of_one_model_do_not_depend_on_the_codes_at_a_time(monkeypatch):
    tables, _ = case(0, 1, 9, 3)
    codes = np.random.default_rng(0).integers(0, 9, 100)
    files = []
    for at_a_time in (1000, 50, 7, 1):
        monkeypatch.setattr(range_coder, "_CODES_AT_A_TIME", at_a_time)
        encoder = RangeEncoder()
        encoder.append(codes, tables[0])
        files.append(encoder.finish())
        assert (RangeDecoder(files[0]).take(100, tables[0]) == codes).all()
    assert len(set(files)) == 1


def test_no_codes_take_no_bytes():
    assert RangeEncoder().finish() == b""
    assert RangeDecoder(b"").take(0, np.ones((0, 4), dtype=np.int64)).tolist() == []


def test_random_bytes_are_refused_or_decode_to_codes():
    tables, _ = case(3, 400, 256, 3)
    for seed in range(200):
        try:
            codes = RangeDecoder(np.random.default_rng(seed).bytes(40)).take(400, tables)
        except BitstreamError:
            continue
        assert codes.min() >= 0
        assert codes.max() < 256


def test_impossible_point_is_refused():
    tables = frequencies_of_weights(np.ones((1, 3), dtype=np.int64))
    with pytest.raises(BitstreamError, match="cannot be decoded"):
        RangeDecoder(b"\xff" * 8).take(1, tables)
