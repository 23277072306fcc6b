import io
import struct

import numpy as np
import pytest
from picture_files import _directory, tiff
from PIL import Image

from vqgen.data.pictures.tiff import decode_tiff
from vqgen.data.pictures.tiff_ycbcr import with_packed_ycbcr

BLOCKS = np.random.default_rng(0).integers(60, 200, (8, 8, 3), dtype=np.uint8)  # one colour for 2 x 2 pixels


def ycbcr(subsampling, order="<", tags=()):
    """A picture of 16 x 16 pixels. In each group of pixels all brightnesses come first, then both differences."""
    wide, high = subsampling or (2, 2)
    full = BLOCKS.repeat(2, 0).repeat(2, 1)
    data = b""
    for top in range(0, 16, high):
        for left in range(0, 16, wide):
            group = full[top : top + high, left : left + wide]
            data += group[..., 0].tobytes() + group[0, 0, 1:].tobytes()
    entries = [(256, 3, [16]), (257, 3, [16]), (258, 3, [8, 8, 8]), (259, 3, [1]), (262, 3, [6]), (273, 4, [8]),
               (277, 3, [3]), (278, 3, [16]), (279, 4, [len(data)]), *tags]  # fmt: skip
    if subsampling:
        entries.append((530, 3, list(subsampling)))
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8 + len(data))
    return io.BytesIO(head + data + _directory(sorted(entries), 8 + len(data), order, False))


def rgb(picture):
    assert isinstance(picture, Image.Image)
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("subsampling", [None, (1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_subsampled_colours_belong_to_all_their_pixels(subsampling, order):
    expected = np.asarray(Image.fromarray(BLOCKS, "YCbCr").convert("RGB")).repeat(2, 0).repeat(2, 1)
    found = rgb(decode_tiff(ycbcr(subsampling, order)).pixels)
    assert np.abs(found - expected).max() <= 2


def test_reference_values_are_black_and_white():
    limits = b"".join(struct.pack("<2I", value, 1) for value in (16, 235, 128, 240, 128, 240))
    found = rgb(decode_tiff(ycbcr((1, 1), tags=[(532, 5, limits)])).pixels)
    full = BLOCKS.repeat(2, 0).repeat(2, 1).astype(float)
    red = (full[..., 0] - 16) * 255 / 219 + 1.402 * (full[..., 2] - 128) * 127 / 112
    assert np.abs(found[..., 0] - np.clip(red, 0, 255)).max() <= 3


def test_full_samples_without_the_tag_are_full_samples():
    values = np.repeat(np.repeat(BLOCKS, 2, 0), 2, 1)
    found = rgb(decode_tiff(io.BytesIO(tiff(values, 8, photometric=6))).pixels)
    expected = np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))
    assert np.abs(found - expected).max() <= 2


def test_other_pictures_pass():
    for file in (io.BytesIO(tiff(BLOCKS, 8, photometric=2)), io.BytesIO(tiff(BLOCKS, 8, photometric=6, compression=8))):
        assert with_packed_ycbcr(file) is file
