import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.evaluation import large_pictures
from vqgen.evaluation.large_pictures import mean_square_error, ms_ssim_in_strips, strips
from vqgen.evaluation.pixel_errors import ms_ssim_per_image


@pytest.fixture(params=[1, 1000, 5000, 1 << 20])
def at_a_time(monkeypatch, request):
    monkeypatch.setattr(large_pictures, "PIXELS_AT_A_TIME", request.param)
    return request.param


def pair(height, width, channels, noise=20):
    rng = np.random.default_rng(height + width)
    shape = (height, width, 3) if channels == 3 else (height, width)
    smooth = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).resize((width // 4, height // 4))
    one = smooth.resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(one, dtype=int) + rng.integers(-noise, noise + 1, shape)
    return one, Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def intensities(picture):
    return torch.from_numpy(np.atleast_3d(np.asarray(picture, dtype=np.float32))).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(12, 15), (24, 60), (201, 183), (193, 180)])
def test_similarity_in_strips_is_that_of_the_whole_picture(at_a_time, channels, height, width):
    one, other = pair(height, width, channels)
    expected = ms_ssim_per_image(intensities(one), intensities(other))
    assert expected is not None
    assert ms_ssim_in_strips(one, other) == pytest.approx(expected.item(), abs=2e-6)


def test_equal_pictures_have_similarity_1_and_no_error(at_a_time):
    one, _ = pair(50, 40, 3)
    assert ms_ssim_in_strips(one, one) == pytest.approx(1, abs=1e-6)
    assert mean_square_error(one, one, "RGB") == 0


def test_picture_smaller_than_the_window_has_no_similarity():
    one, other = pair(10, 40, 1)
    assert ms_ssim_in_strips(one, other) is None


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_error_in_strips_is_that_of_the_whole_picture(at_a_time, mode):
    one, other = pair(37, 29, 3)
    values = [np.asarray(each.convert(mode), dtype=np.float64) / 255 for each in (one, other)]
    assert mean_square_error(one, other, mode) == pytest.approx(np.square(values[0] - values[1]).mean(), rel=1e-12)


@pytest.mark.parametrize("multiple", [1, 2])
def test_strips_are_all_rows_once(at_a_time, multiple):
    parts = list(strips(37, 29, multiple))
    assert [row for part in parts for row in range(37)[part]] == list(range(37))
    assert all((part.stop - part.start) % multiple == 0 for part in parts[:-1])
    assert all((part.stop - part.start) * 29 <= max(at_a_time, 29 * multiple) for part in parts)
