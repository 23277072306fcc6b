import io
from dataclasses import replace

import numpy as np
import pytest
from picture_files import tiff
from PIL import Image

from vqgen.data.pictures.tiff_blocks import is_readable, read_samples
from vqgen.data.pictures.tiff_tags import Layout, read_layout
from vqgen.errors import DataError

RNG = np.random.default_rng(0)


def opened(data):
    file = io.BytesIO(data)
    layout = read_layout(file)
    assert isinstance(layout, Layout)
    return file, layout


def check(values, bits, **fields):
    file, layout = opened(tiff(values, bits, **fields))
    assert is_readable(layout)
    found = read_samples(file, layout)
    assert found.dtype == values.dtype
    assert (found == values).all()


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 7, 8, 10, 12, 14, 16, 24, 32, 64])
def test_unsigned_numbers_of_any_size_are_read(bits):
    size = next(size for size in (8, 16, 32, 64) if bits <= size)
    check(RNG.integers(0, 1 << bits, (7, 9, 3), dtype=np.uint64).astype(f"u{size // 8}"), bits, photometric=2)


@pytest.mark.parametrize("code", ["i1", "i2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_numbers_and_floats_are_read(code, order):
    values = (RNG.standard_normal((5, 6, 1)) * 100).astype(code)
    check(values, 8 * values.dtype.itemsize, sample_format=2 if code[0] == "i" else 3, order=order)


@pytest.mark.parametrize("compression", [1, 5, 8, 32946, 32773])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("places", [{"rows_per_strip": 3}, {"tile": (16, 16)}, {"tile": (32, 16), "is_planar": True}])
def test_compressed_strips_and_tiles_are_read(compression, predictor, places):
    if compression in (1, 32773) and predictor == 2:
        pytest.skip("these schemes have no predictor")
    values = RNG.integers(0, 65536, (20, 37, 3), dtype=np.uint16)
    check(values, 16, photometric=2, compression=compression, predictor=predictor, **places)


@pytest.mark.parametrize("code", ["f2", "f4", "f8"])
@pytest.mark.parametrize("count", [1, 3])
def test_differences_of_floats_are_undone(code, count):
    values = RNG.standard_normal((6, 11, count)).astype(code)
    check(values, 8 * values.dtype.itemsize, photometric=2 if count == 3 else 1, sample_format=3, compression=8,
          predictor=3)  # fmt: skip


def test_bits_in_reverse_order_are_turned():
    values = RNG.integers(0, 256, (4, 5, 1), dtype=np.uint8)
    file, layout = opened(tiff(values, 8))
    turned = [int(f"{value:08b}"[::-1], 2) for value in values.reshape(-1)]
    assert read_samples(file, replace(layout, is_reversed=True)).reshape(-1).tolist() == turned


@pytest.mark.parametrize(
    "changes", [{"compression": 7}, {"bits": 24, "sample_format": 3}, {"sample_format": 6}, {"predictor": 4},
                {"bits": 12, "predictor": 2}]
)  # fmt: skip
def test_layouts_that_are_not_read_are_known(changes):
    layout = opened(tiff(np.zeros((2, 2, 1), np.uint8), 8, compression=5))[1]
    assert is_readable(layout)
    assert not is_readable(replace(layout, **changes))


def test_damaged_strips_are_refused():
    values = RNG.integers(0, 65536, (4, 5, 1), dtype=np.uint16)
    file, layout = opened(tiff(values, 16))
    for counts, message in (((10,), "should have 40 bytes, found 10"), ((2**40,), "lies behind its end")):
        with pytest.raises(DataError, match=message):
            read_samples(file, replace(layout, counts=counts))
    with pytest.raises(DataError, match="should have 1 strips or tiles, found 2"):
        read_samples(file, replace(layout, offsets=(8, 8)))
    with pytest.raises(DataError, match="a strip or tile is damaged"):
        read_samples(file, replace(layout, compression=8))


def test_tile_that_fills_the_memory_is_refused(monkeypatch):
    file, layout = opened(tiff(np.zeros((4, 5, 1), np.uint8), 8))
    tiled = replace(layout, is_tiled=True, block=(1 << 14, 1 << 14))
    with pytest.raises(DataError, match="decompression bomb"):
        read_samples(file, replace(tiled, block=(1 << 15, 1 << 15)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="a strip or tile should have at most"):
        read_samples(file, replace(tiled, block=(1 << 17, 1 << 17)))
