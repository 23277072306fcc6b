import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.reports.page.pictures import SHOWN_SIDE, code_picture, page_picture, page_pictures, similar_places

MOST_PICTURES = 170
"""Pictures of a report with ten labels."""


def opened(picture):
    head, data = picture.uri.split(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def noise(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 8, 17, 64])
def test_small_pictures_keep_every_pixel_and_are_enlarged_by_a_whole_factor(side, channels):
    images = noise(2, channels, side, side)
    one, other = page_pictures(images, ["a", "b"], ["x", "y"])
    assert (one.text, one.note, other.text, other.note) == ("a", "x", "b", "y")
    assert one.width == one.height and one.width % side == 0 and SHOWN_SIDE // 2 < one.width <= SHOWN_SIDE
    pixels = torch.from_numpy(np.array(opened(one))).reshape(side, side, channels).permute(2, 0, 1)
    assert torch.equal(pixels, images[0])


@pytest.mark.parametrize("side", [64, 65, 256])
def test_pictures_of_noise_leave_a_page_below_five_megabytes(side):
    (picture,) = page_pictures(noise(1, 3, side, side), ["noise"])
    assert MOST_PICTURES * len(picture.uri) < 4_500_000
    assert picture.width <= SHOWN_SIDE


def test_large_pictures_keep_their_proportions():
    picture = page_picture(Image.new("RGB", (400, 200), "red"), "wide", side=80)
    assert (picture.width, picture.height) == (80, 40)
    assert opened(picture).format == "JPEG"


def test_equal_codes_have_equal_colours_and_different_ones_differ():
    codes = torch.tensor([[0, 1], [2, 0]])
    pixels = np.array(opened(code_picture(codes, torch.tensor([0.0, 0.5, 1.0]), "codes")))
    assert (pixels[0, 0] == pixels[1, 1]).all()
    assert len({tuple(pixel) for pixel in pixels.reshape(4, 3)}) == 3


def test_places_follow_the_first_principal_axis():
    steps = torch.tensor([3.0, 1.0, 2.0, 50.0])
    codebook = torch.stack([steps, 0.01 * steps.flip(0)], dim=1)
    places = similar_places(codebook)
    assert places.tolist() in ([2 / 3, 0, 1 / 3, 1], [1 / 3, 1, 2 / 3, 0]) or torch.allclose(
        places, torch.tensor([2 / 3, 0, 1 / 3, 1])
    )
    assert torch.equal(similar_places(codebook), places)


def test_codebook_of_equal_entries_has_places():
    places = similar_places(torch.zeros(4, 3))
    assert ((places >= 0) & (places <= 1)).all()
    assert similar_places(torch.zeros(1, 3)).tolist() == [0]
