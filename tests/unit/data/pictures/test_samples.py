import numpy as np
import pytest
from PIL import Image

from vqgen.data import Reading
from vqgen.data.pictures import samples as module
from vqgen.data.pictures.samples import Samples, remapped, rounded, row_blocks, sample_range, to_picture
from vqgen.errors import DataError


def grey(values, **fields):
    fields = {"kind": "12-bit", "own_range": (0, 4095), **fields}
    return Samples(np.array([values])[..., None], **fields)


def pixels(samples, **ranges):
    return np.asarray(to_picture(samples, Reading(**ranges)))[0].tolist()


def test_black_and_white_of_the_file_become_0_and_255():
    assert pixels(grey([0, 8, 9, 2048, 4095])) == [0, 0, 1, 128, 255]


def test_declared_range_comes_before_that_of_the_file_and_the_measured_one():
    assert pixels(grey([0, 100, 200, 300]), value_range=(100, 300), measured_range=(0, 1)) == [0, 0, 128, 255]
    assert sample_range(grey([1]), Reading(measured_range=(5, 6))) == (0, 4095)


def test_measured_range_is_that_of_samples_without_one():
    floats = grey([-2.0, -1.0, 0.0, 5.0], kind="float32", own_range=None)
    assert pixels(floats, measured_range=(-1, 1)) == [0, 0, 128, 255]
    with pytest.raises(DataError, match=r"samples are float32, which define .*--data\.value-range LOW HIGH"):
        to_picture(floats, Reading())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value):
    with pytest.raises(DataError, match="samples should be finite numbers, found infinite ones or NaN"):
        to_picture(grey([0.0, value]), Reading())
    with pytest.raises(DataError, match="opacities should be finite"):
        to_picture(grey([0.0, 1.0], alpha=np.array([[1.0, value]])), Reading())


def test_low_end_of_inverted_samples_is_white():
    assert pixels(grey([0, 4095], is_inverted=True)) == [255, 0]
    assert pixels(grey([0.0, 0.25], is_inverted=True, own_range=None), value_range=(0, 1)) == [255, 191]


def test_associated_colours_are_divided_by_their_opacity():
    alpha = np.array([[0, 100, 200, 255]])
    half = grey([7, 50, 200, 255], own_range=(0, 255), alpha=alpha, is_associated=True)
    assert pixels(half) == [[7, 0], [128, 100], [255, 200], [255, 255]]


def test_opacity_that_is_zero_everywhere_is_no_opacity():
    picture = to_picture(grey([5, 4095], alpha=np.zeros((1, 2)), is_associated=True), Reading())
    assert (picture.mode, picture.getpixel((1, 0))) == ("L", 255)


def test_eight_bits_come_back_as_they_are():
    values = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (np.asarray(to_picture(Samples(values, "8-bit", (0, 255)), Reading())) == values).all()


def test_small_blocks_give_the_same_picture(monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (9, 5, 3)).astype(np.uint16)
    alpha = np.random.default_rng(1).integers(0, 65536, (9, 5))
    samples = Samples(values, "16-bit", (0, 65535), alpha=alpha, alpha_high=65535, is_associated=True)
    whole = to_picture(samples, Reading()).tobytes()
    monkeypatch.setattr(module, "_BLOCK", 16)
    assert to_picture(samples, Reading()).tobytes() == whole


def test_blocks_cover_all_rows_once():
    rows = [row for part in row_blocks(7, 1 << 19) for row in range(7)[part]]
    assert rows == list(range(7))


def test_own_conversion_gets_numbers_of_0_to_255():
    found = []

    def convert(scaled):
        found.append(scaled)
        return rounded(scaled)

    to_picture(grey([0, 4095]), Reading(), convert)
    assert found[0].reshape(-1).tolist() == [0, 255]


def test_declared_range_maps_colours_and_leaves_alpha():
    picture = Image.new("RGBA", (1, 1), (0, 50, 100, 50))
    assert remapped(picture, (0, 100)).getpixel((0, 0)) == (0, 128, 255, 50)
    assert remapped(Image.new("L", (1, 1), 10), (0, 15)).getpixel((0, 0)) == 170
