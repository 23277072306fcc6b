import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.data.checking import as_label_tensor, as_latents, as_pictures, as_pixels, each_picture
from vqgen.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
RGBA = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize(
    ("value", "modes"),
    [
        (Image.new("RGB", (4, 3)), ["RGB"]),
        ([Image.new("L", (4, 3)), Image.new("I;16", (4, 3))], ["L", "I;16"]),
        (GREY, ["L"]),
        (GREY[..., None], ["L"]),
        (RGB, ["RGB"]),
        (RGBA, ["RGBA"]),
        (np.stack([RGB, RGB]), ["RGB", "RGB"]),
        (np.stack([GREY, GREY])[..., None], ["L", "L"]),
        ((GREY, RGB), ["L", "RGB"]),
        ((array for array in (RGB, GREY)), ["RGB", "L"]),
    ],
)
def test_pictures_are_images_or_arrays_of_bytes(value, modes):
    assert [picture.mode for picture in as_pictures("images", value)] == modes


@pytest.mark.parametrize("values", [GREY, RGB, RGBA, GREY.T, RGB[::2, ::-1], np.asfortranarray(RGB)])
def test_array_keeps_its_values(values):
    assert np.array_equal(np.asarray(as_pictures("images", values)[0]), values)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a.png", "found 'a.png' (str); vqgen.data.read_image opens a file"),
        (Path("a.png"), "found the path 'a.png'; vqgen.data.read_image opens a file"),
        ([RGB, Path("a.png")], "found the path 'a.png', item 1; vqgen.data.read_image opens a file"),
        (torch.zeros(1, 3, 4, 4), "found a Tensor of float32, shape (1, 3, 4, 4); the methods that end in _tensor"),
        ([torch.zeros(3, 4, 4)], "found a Tensor of float32, shape (3, 4, 4); the methods that end in _tensor"),
        (RGB / 255, "found an ndarray of float64, shape (3, 4, 3); scale the values to 0 to 255 and convert them"),
        (RGB.astype(np.int64), "found an ndarray of int64, shape (3, 4, 3); scale"),
        (RGB > 3, "found an ndarray of bool, shape (3, 4, 3); scale"),
        (np.zeros((3, 4, 5), np.uint8), "found an ndarray of uint8, shape (3, 4, 5); the channels come last"),
        (
            np.zeros((2, 3, 4, 5), np.uint8),
            "found an ndarray of uint8, shape (3, 4, 5), item 0; the channels come last",
        ),
        (np.zeros((), np.uint8), "found 0 (ndarray)"),
        ([np.zeros((0, 4), np.uint8)], "found an ndarray of uint8, shape (0, 4)"),
        ([np.zeros(4, np.uint8)], "found an ndarray of uint8, shape (4,)"),
        (None, "found None"),
        (3, "found 3 (int)"),
        ([None], "found None"),
        (b"abc", "found a bytes of length 3"),
        ({"a": 1}, "found a dict of length 1"),
        (Image, "found a module"),
        (Image.Image, "found the class Image"),
    ],
)
def test_other_values_are_refused_with_a_remedy(value, found):
    with pytest.raises(
        DataError, match=r"^images: should be pictures \(PIL images, or uint8 arrays .*" + re.escape(found)
    ):
        as_pictures("images", value)


@pytest.mark.parametrize("value", [[], (), (n for n in ()), np.zeros((0, 3, 4, 3), np.uint8)])
def test_at_least_one_picture_is_needed(value):
    with pytest.raises(DataError, match=r"^images: should be at least one, found none$"):
        as_pictures("images", value)


def test_error_of_one_of_several_pictures_names_it():
    def act(picture):
        if picture.width == 2:
            raise DataError("too narrow")
        return picture.width

    wide, narrow = Image.new("L", (3, 3)), Image.new("L", (2, 3))
    assert each_picture([wide, wide], act) == [3, 3]
    with pytest.raises(DataError, match=r"^images: item 1: too narrow$"):
        each_picture([wide, narrow], act)
    with pytest.raises(DataError, match=r"^images: too narrow$"):
        each_picture([narrow], act)


def test_pixels_are_a_batch_of_bytes():
    good = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    assert as_pixels("images", good, 3) is good
    wrong = [good.float(), good[0], good[:, :1], good[:0], good[..., :0], good.numpy(), [good], None, "a", object()]
    for value in wrong:
        with pytest.raises(
            DataError, match=r"^images: should be a uint8 tensor \(b, 3, H, W\) of at least one image, "
        ):
            as_pixels("images", value, 3)


def test_latents_are_a_batch_of_floats():
    good = torch.zeros(2, 7)
    assert as_latents("latents", good, 7) is good
    for value in (good.long(), good[0], good[:, :6], good[:0], good.numpy(), [good], None):
        with pytest.raises(DataError, match=r"^latents: should be a float tensor \(b, 7\) of at least one vector, "):
            as_latents("latents", value, 7)


def test_label_tensor_has_a_label_for_each_image():
    good = torch.tensor([-1, 2])
    assert as_label_tensor("labels", good, 2, 3) is good
    for value in (good.float(), good[:1], good.numpy(), [0, 1], None, 3, "a", torch.zeros(2, dtype=torch.bool)):
        with pytest.raises(DataError, match=r"^labels: should be an int64 tensor \(2,\), a label for each, found "):
            as_label_tensor("labels", value, 2, 3)
    with pytest.raises(DataError, match=r"labels: should be from -1 \(unknown\) to 1, found -1 to 2"):
        as_label_tensor("labels", good, 2, 2)
