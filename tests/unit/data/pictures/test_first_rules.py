"""Models of before read as they did: the samples of Pillow, guessed ranges, no profiles."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_files import chunk, png, tiff
from PIL import Image

from vqgen.data import Reading, normalize_mode, read_image
from vqgen.data.pictures.first_rules import normalize_by_first_rules, read_by_first_rules
from vqgen.data.pictures.png_colours import described_profile
from vqgen.errors import DataError

FIRST = Reading(rules=1)
GREY = np.array([[0, 50, 100], [150, 200, 255]], dtype=np.uint8)
P3 = described_profile({b"cICP": bytes([12, 13, 0, 1])}, is_grey=False)


def read(data):
    return read_by_first_rules(io.BytesIO(data), keep_alpha=False)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def values(array):
    return np.asarray(normalize_by_first_rules(Image.fromarray(array), keep_alpha=False))[0].tolist()


def test_range_of_numbers_follows_from_their_values():
    assert values(np.array([[0, 7, 255]], np.int32)) == [0, 7, 255]
    assert values(np.array([[0, 257, 65535]], np.int32)) == [0, 1, 255]
    assert values(np.array([[0, 0.5, 1]], np.float32)) == [0, 128, 255]
    assert values(np.array([[0, 99.6, 255]], np.float32)) == [0, 100, 255]
    assert values(np.array([[0, 25700]], np.float32)) == [0, 100]
    assert values(np.array([[0, 100, 128, 129, 65535]], np.uint16)) == [0, 0, 0, 1, 255]


@pytest.mark.parametrize("value", [-1, 65536, float("nan"), float("inf")])
def test_values_of_unknown_range_are_refused(value):
    with pytest.raises(DataError, match=r"lie in \[0, 65535\]"):
        values(np.array([[value]], np.float32))


def test_samples_are_those_of_pillow():
    assert read(tiff(np.full((2, 2, 1), 4095, np.uint16), 12)).getpixel((0, 0)) == 16
    assert read(tiff(np.zeros((2, 2, 1), np.uint16), 16, photometric=0)).getpixel((0, 0)) == 0
    deep = np.full((1, 1, 3), 255, np.uint16)  # the high byte alone
    assert read(png(deep, 16, 2)).getpixel((0, 0)) == (0, 0, 0)


def test_key_of_16_bits_is_not_known():
    key = png(np.zeros((1, 1, 1), np.uint16), 16, 0, before=chunk(b"tRNS", b"\0\0"))
    assert read(key).getpixel((0, 0)) == 0


def test_profiles_are_ignored():
    colours = np.full((1, 1, 3), (200, 40, 40), np.uint8)
    assert read(saved(Image.fromarray(colours), "PNG", icc_profile=P3)).getpixel((0, 0)) == (200, 40, 40)


def test_blank_alpha_is_white():
    assert read(saved(Image.new("RGBA", (1, 1), (9, 9, 9, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert read(saved(Image.new("LA", (1, 1), (9, 102)), "PNG")).getpixel((0, 0)) == 157


@pytest.mark.parametrize(("mode", "kept"), [("LA", "LA"), ("RGBA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA"), ("L", "L")])
def test_alpha_plane_is_kept_on_request(mode, kept):
    assert normalize_by_first_rules(Image.new(mode, (2, 1)), keep_alpha=True).mode == kept


def test_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF", "JPEG"):
        assert read(saved(Image.fromarray(GREY), kind, exif=exif)).size == (2, 3)


def test_metadata_do_not_hide_pixels_here_either():
    huge = chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(2_000_000)))
    assert (np.asarray(read(png(GREY[..., None], 8, 0, before=huge))) == GREY).all()


def test_models_of_before_read_files_and_pictures_by_them(tmp_path: Path):
    path = tmp_path / "a.png"
    colours = Image.new("RGB", (2, 2), (200, 40, 40))
    colours.save(path, icc_profile=P3)
    with Image.open(path) as opened:
        assert normalize_mode(opened, reading=FIRST).getpixel((0, 0)) == (200, 40, 40)
        assert normalize_mode(opened).getpixel((0, 0)) != (200, 40, 40)
    found = read_image(path, reading=FIRST)
    assert found.getpixel((0, 0)) == (200, 40, 40)
    # No later reader applies the newest rules to the same picture.
    assert normalize_mode(found).getpixel((0, 0)) == (200, 40, 40)
