import io

import numpy as np
import pytest
from picture_files import bmp
from PIL import Image

from vqgen.data.pictures.bmp import decode_bmp

COLOURS = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
ROWS = [row[:, ::-1].tobytes() for row in COLOURS]


def pixels(data):
    return np.asarray(decode_bmp(io.BytesIO(data)).pixels)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("top_down", [False, True])
def test_rows_come_in_either_order(version, top_down):
    assert (pixels(bmp(ROWS, 5, 24, version=version, top_down=top_down)) == COLOURS).all()


@pytest.mark.parametrize(
    ("depths", "masks"), [((5, 5, 5), (0x7C00, 0x3E0, 0x1F, 0)), ((5, 6, 5), (0xF800, 0x7E0, 0x1F, 0))]
)
def test_samples_of_few_bits_are_rounded_to_the_nearest(depths, masks):
    words = np.arange(1 << sum(depths), dtype="<u2").reshape(1, -1)
    found = pixels(bmp([row.tobytes() for row in words], words.size, 16, masks=masks))[0]
    shifts = (depths[1] + depths[2], depths[2], 0)
    for channel, (depth, shift) in enumerate(zip(depths, shifts, strict=True)):
        high = (1 << depth) - 1
        expected = np.floor(((words[0] >> shift) & high) * 255 / high + 0.5)
        assert (found[:, channel] == expected).all()


def test_profile_of_version_5_is_handed_over():
    data = bmp(ROWS, 5, 24, version=5, profile=b"profile")
    assert decode_bmp(io.BytesIO(data)).profile == b"profile"
    assert (pixels(data) == COLOURS).all()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_other_headers_have_no_profile(version):
    assert decode_bmp(io.BytesIO(bmp(ROWS, 5, 24, version=version))).profile is None


def test_profile_of_any_size_is_not_read():
    data = bytearray(bmp(ROWS, 5, 24, version=5, profile=b"profile"))
    data[14 + 116 : 14 + 120] = b"\xff" * 4
    assert decode_bmp(io.BytesIO(bytes(data))).profile is None


def test_fourth_byte_without_a_mask_is_nothing():
    file = io.BytesIO(bmp([np.pad(row[:, ::-1], ((0, 0), (0, 1))).tobytes() for row in COLOURS], 5, 32))
    found = decode_bmp(file).pixels
    assert isinstance(found, Image.Image)
    assert found.mode == "RGB"
    assert (np.asarray(found) == COLOURS).all()
