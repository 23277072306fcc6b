import io
import struct

import numpy as np
import pytest
from picture_files import tiff

from vqgen.data.pictures.tiff_directory import read_directory
from vqgen.errors import DataError

PIXELS = np.zeros((3, 5, 1), np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_big", [False, True])
def test_numbers_and_bytes_are_read_in_every_order_and_size(order, is_big):
    profile = bytes(range(50))
    file = io.BytesIO(tiff(PIXELS, 8, order=order, is_big=is_big, rows_per_strip=1, more=((34675, 7, profile),)))
    found, tags = read_directory(file, frozenset({256, 257, 278, 279, 34675}))
    assert found == order
    assert tags == {256: (5,), 257: (3,), 278: (1,), 279: (5, 5, 5), 34675: profile}


def test_tags_that_are_not_wanted_may_be_damaged():
    file = io.BytesIO(tiff(PIXELS, 8, more=((700, 1, b"x"),)))
    data = file.getvalue().replace(struct.pack("<HHI", 700, 1, 1), struct.pack("<HHI", 700, 99, 2**32 - 1))
    assert read_directory(io.BytesIO(data), frozenset({256}))[1] == {256: (5,)}


def test_directory_behind_the_end_is_refused():
    data = tiff(PIXELS, 8)
    with pytest.raises(DataError, match="directory of the TIFF is damaged or cut short"):
        read_directory(io.BytesIO(data[:40]), frozenset({256}))
    with pytest.raises(DataError, match="directory of the TIFF is damaged or cut short"):
        read_directory(io.BytesIO(b"II*\0"), frozenset({256}))


def test_values_behind_the_end_are_refused():
    data = tiff(PIXELS, 8, rows_per_strip=1)  # three offsets, written behind the directory
    with pytest.raises(DataError, match="a tag lies behind the end"):
        read_directory(io.BytesIO(data[:-4]), frozenset({273, 279}))


def test_tag_of_any_size_is_not_read():
    data = tiff(PIXELS, 8).replace(struct.pack("<HHI", 279, 4, 1), struct.pack("<HHI", 279, 4, 2**31))
    with pytest.raises(DataError, match="should have at most 268435456 bytes"):
        read_directory(io.BytesIO(data), frozenset({279}))
