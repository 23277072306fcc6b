import io

import numpy as np
import pytest
from picture_files import netpbm

from vqgen.data.pictures.netpbm import decode_netpbm
from vqgen.errors import DataError

RNG = np.random.default_rng(0)
COUNTS = {"P1": 1, "P2": 1, "P3": 3, "P4": 1, "P5": 1, "P6": 3}


def decoded(data):
    return decode_netpbm(io.BytesIO(data)).pixels


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("high", [1, 15, 200, 255, 256, 1023, 4095, 65535])
def test_samples_come_back_as_they_were_written(kind, high):
    high = 1 if kind in ("P1", "P4") else high
    values = RNG.integers(0, high + 1, (4, 11, COUNTS[kind])).astype(np.uint16)
    found = decoded(netpbm(values, kind, high))
    assert (found.values == values).all()
    assert found.own_range == (0, high)
    assert found.is_inverted == (kind in ("P1", "P4"))
    assert found.alpha is None


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_last_sample_of_an_even_number_is_opacity(count):
    values = RNG.integers(0, 1001, (3, 4, count)).astype(np.uint16)
    found = decoded(netpbm(values, "P7", 1000))
    colours = 1 if count < 3 else 3
    assert (found.values == values[..., :colours]).all()
    assert found.alpha_high == 1000
    assert found.alpha is None if count in (1, 3) else (found.alpha == values[..., -1]).all()


@pytest.mark.parametrize("kind", ["Pf", "PF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_begin_with_the_lowest_row(kind, order):
    values = RNG.standard_normal((3, 4, 3 if kind == "PF" else 1)).astype(np.float32)
    found = decoded(netpbm(values, kind, order=order))
    assert (found.values == values).all()
    assert (found.kind, found.own_range) == ("float32", None)


def test_bits_of_a_text_need_no_spaces_and_comments_are_left_out():
    assert decoded(b"P1\n# wide\n3 2 # more\n101\n# in between\n0 1 0").values[..., 0].tolist() == [
        [1, 0, 1],
        [0, 1, 0],
    ]
    assert decoded(b"P2 2 1 9 # nine\n3\n# x\n9").values.reshape(-1).tolist() == [3, 9]


@pytest.mark.parametrize(("high", "kind"), [(4095, "12-bit"), (255, "8-bit"), (1, "1-bit"), (1000, "of 0 to 1000")])
def test_samples_are_named_by_their_bits(high, kind):
    assert decoded(netpbm(np.zeros((1, 1, 1), np.uint16), "P5", high)).kind == kind


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 3", "header of the PNM is damaged"),
        (b"P5 3 x 255 ", "whole numbers, found b'x'"),
        (b"P5 0 3 255 ", "at least one pixel"),
        (b"P5 2 2 0 abcd", "should lie in 1..65535, found 0"),
        (b"P5 2 2 65536 abcd", "should lie in 1..65535, found 65536"),
        (b"P5 2 2 255 abc", "should take 4 bytes, found 3"),
        (b"P4 9 2 abc", "should take 4 bytes, found 3"),
        (b"P6 99999999 99999999 255 ", "decompression bomb"),
        (b"P2 2 2 255 1 2 3", "samples should be 4, found 3"),
        (b"P2 2 1 255 1 -2", "found other words"),
        (b"Pf 1 1 x\n....", "should be a number, found b'x'"),
        (b"P7\nWIDTH 3\n", "should end with ENDHDR"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 9\nENDHDR\n12345", "1 to 4 samples for a pixel, found 5"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nMAXVAL 9\nENDHDR\n12345", "whole numbers, found b''"),
    ],
)
def test_damaged_file_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        decoded(data)
