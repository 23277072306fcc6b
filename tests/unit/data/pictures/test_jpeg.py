import io
import struct

import numpy as np
import pytest
from PIL import Image

from vqgen.data.pictures.jpeg import decode_jpeg


def file_of(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
EXIF = Image.Exif()
EXIF[0x0112] = 6
PLAIN = file_of(RGB, exif=EXIF, icc_profile=b"profile")


@pytest.mark.parametrize("data", [b"JFIF\0", b"JFIF\0\1", b"Exif\0\0x", b"MPF\0II*\0", b"Photoshop 3.0\x008BIM", b""])
@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xFE])
def test_damaged_metadata_never_hide_sound_pixels(marker, data):
    expected = decode_jpeg(io.BytesIO(PLAIN)).pixels
    found = decode_jpeg(io.BytesIO(PLAIN[:2] + segment(marker, data) + PLAIN[2:])).pixels
    assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_orientation_and_profile_remain_beside_a_damaged_header():
    found = decode_jpeg(io.BytesIO(PLAIN[:2] + segment(0xE0, b"JFIF\0") + PLAIN[2:]))
    assert (found.orientation, found.profile) == (6, b"profile")


def test_inks_of_adobe_are_not_inverted():
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    found = decode_jpeg(io.BytesIO(file_of(inks)[:2] + segment(0xE0, b"JFIF\0") + file_of(inks)[2:])).pixels
    assert isinstance(found, Image.Image)
    assert found.mode == "CMYK"
    assert np.abs(np.array(found.getpixel((5, 5))) - (255, 0, 0, 0)).max() <= 3


def test_damaged_pixels_are_refused_with_their_reason():
    with pytest.raises(OSError, match=r"(?i)truncated"):
        decode_jpeg(io.BytesIO(PLAIN[:-200]))
