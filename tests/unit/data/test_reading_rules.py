"""Each rule is applied to a picture once, by the content of its file and the ranges of its model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import png
from PIL import Image

from vqgen.data import Reading, normalize_mode, read_image
from vqgen.data.pictures.extents import Extent
from vqgen.data.pictures.png_colours import described_profile
from vqgen.data.reading import mark_read, measure_image
from vqgen.errors import DataError

COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_range_of_signed_and_float_samples_is_given_and_never_guessed(tmp_path: Path, dtype: Any) -> None:
    values = np.array([[-5, 0, 5, 20]], dtype)
    image = Image.fromarray(values)
    path = save(image, tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"samples are {dtype.__name__}, .*--data\.value-range"):
        normalize_mode(image)
    with pytest.raises(DataError, match=rf"a\.tif': its samples are {dtype.__name__}"):
        read_image(path)
    for reading in (Reading(value_range=(-5, 15)), Reading(measured_range=(-5, 15))):
        expected = [[0, 64, 128, 255]]
        assert np.asarray(normalize_mode(image, reading=reading)).tolist() == expected
        assert np.asarray(read_image(path, reading=reading)).tolist() == expected
    assert measure_image(path) == Extent(dtype.__name__, -5, 20, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[value]], np.float32))
    with pytest.raises(DataError, match="should be finite numbers"):
        normalize_mode(image, reading=Reading(value_range=(0, 1)))
    with pytest.raises(DataError, match="should be finite numbers"):
        measure_image(save(image, tmp_path / "a.tif"))


def test_no_rule_is_applied_twice(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.full((2, 2), 10, np.uint8)), tmp_path / "a.png")
    reading = Reading(value_range=(0, 20))
    once = read_image(path, reading=reading)
    assert once.getpixel((0, 0)) == 128
    assert normalize_mode(once, reading=reading) is once
    assert normalize_mode(once.crop((0, 0, 1, 1)).rotate(90), reading=reading).getpixel((0, 0)) == 128
    with Image.open(path) as opened:
        again = normalize_mode(opened, reading=reading)
    assert again.getpixel((0, 0)) == 128
    assert normalize_mode(again, reading=reading).getpixel((0, 0)) == 128


def test_opened_picture_is_read_as_its_file_and_stays_open(tmp_path: Path) -> None:
    deep = np.full((3, 4, 3), (255, 300, 65535), np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(deep, 16, 2))
    with Image.open(path) as opened:
        assert normalize_mode(opened).getpixel((0, 0)) == (1, 1, 255)
        assert opened.getpixel((0, 0)) == (0, 1, 255)  # Pillow's own, afterwards
    with Image.open(path) as opened:
        opened.load()
        assert normalize_mode(opened).getpixel((0, 0)) == (0, 1, 255)


def test_picture_of_another_format_than_its_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOUR).save(path, "PNG")
    assert (np.asarray(read_image(path)) == COLOUR).all()


def test_profile_is_converted_once(tmp_path: Path) -> None:
    profile = described_profile({b"cICP": bytes([12, 13, 0, 1])}, is_grey=False)
    path = save(Image.new("RGB", (2, 2), (200, 40, 40)), tmp_path / "a.png", icc_profile=profile)
    found = read_image(path)
    assert np.abs(np.array(found.getpixel((0, 0))) - (218, 0, 26)).max() <= 1
    assert normalize_mode(found) is found


def test_marked_picture_keeps_its_colours() -> None:
    picture = Image.new("L", (1, 1), 3)
    picture.info["icc_profile"] = b"x"
    assert mark_read(picture) is picture
    assert normalize_mode(picture, reading=Reading(value_range=(0, 3))) is picture
    assert "icc_profile" not in picture.info
