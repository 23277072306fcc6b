import numpy as np
import pytest
from PIL import Image

from vqgen.data.pictures.orientation import orientation_of, upright

GREY = np.array([[0, 50, 100], [150, 200, 255]], dtype=np.uint8)
TURNS = {
    1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1], 5: GREY.T, 6: np.rot90(GREY, -1),
    7: GREY[::-1, ::-1].T, 8: np.rot90(GREY), 9: GREY,
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_is_turned(orientation):
    assert (np.asarray(upright(Image.fromarray(GREY), orientation)) == TURNS[orientation]).all()


def test_upright_picture_is_itself():
    image = Image.fromarray(GREY)
    assert upright(image, 1) is image


@pytest.mark.parametrize("tag", [0, 9, "up", 2.5])
def test_orientation_that_makes_no_sense_is_upright(tag):
    image = Image.new("L", (1, 1))
    image.getexif()[0x0112] = tag
    assert orientation_of(image) == 1


def test_damaged_metadata_are_upright():
    image = Image.new("L", (1, 1))
    image.info["exif"] = b"Exif\0\0garbage"
    assert orientation_of(image) == 1
