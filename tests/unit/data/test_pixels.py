import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from vqgen.data import image_pixels, model_pixels, to_float, to_pil, to_tensor, to_uint8

CPU = torch.device("cpu")


def every_byte() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_byte_comes_back() -> None:
    values = every_byte()
    scaled = to_float(values)
    assert scaled.dtype == torch.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)
    assert torch.equal(to_uint8(scaled), values)
    assert torch.equal(to_uint8(scaled.double()), values)


def test_values_outside_are_clamped_and_values_inside_rounded() -> None:
    values = torch.tensor([-3.0, 3.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5]).reshape(1, 1, 1, 4)
    assert to_uint8(values).flatten().tolist() == [0, 255, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_pixels_of_a_model_are_scaled_in_float32_and_then_cast(dtype: torch.dtype) -> None:
    pixels = model_pixels(every_byte(), CPU, dtype)
    assert pixels.dtype == dtype
    assert torch.equal(pixels, (every_byte().float() / 127.5 - 1).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_image_pixels_invert_model_pixels(dtype: torch.dtype) -> None:
    assert torch.equal(image_pixels(model_pixels(every_byte(), CPU, dtype)), every_byte())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_pictures_come_back(channels: int, mode: str) -> None:
    images = torch.randint(0, 256, (2, channels, 4, 5), dtype=torch.uint8)
    pictures = to_pil(images)
    assert [picture.mode for picture in pictures] == [mode, mode]
    assert torch.equal(torch.stack([F.pil_to_tensor(picture) for picture in pictures]), images)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2).byte(), torch.zeros(1, 2, 2, 2).byte()]
)
def test_tensor_that_is_not_a_batch_of_pictures_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(b, 1 or 3, h, w\), found"):
        to_pil(images)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_tensor_of_a_picture_equals_the_one_from_torchvision(mode: str) -> None:
    picture = Image.effect_noise((7, 5), 100).convert(mode)
    found = to_tensor(picture)
    assert torch.equal(found, F.pil_to_tensor(picture))
    found.zero_()  # a copy: the picture is as it was
    assert np.asarray(picture).any()
