import math

import pytest
import torch
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from vqgen.evaluation.pixel_errors import ms_ssim_weights, mse_per_image, psnr_per_image, similarity_per_image


def test_mse_is_of_intensities_from_0_to_1_with_clamped_reconstructions():
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    assert mse_per_image(images + 1, images).tolist() == [0.25, 0.25, 0.0]  # the last was clamped
    assert mse_per_image(images, images).dtype == torch.float64


def test_psnr_is_minus_10_log10_and_at_most_100():
    assert psnr_per_image(torch.tensor([1.0, 0.01, 0.0])).tolist() == pytest.approx([0.0, 20.0, 100.0])


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (16, 1), (32, 2), (64, 3), (128, 4), (176, 5), (512, 5)]
)
def test_scales_are_as_many_as_fit_and_their_weights_sum_to_one(side, scales):
    weights = ms_ssim_weights(side)
    assert len(weights) == scales
    assert scales == 0 or math.isclose(sum(weights), 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [11, 16, 45, 100, 176])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similarities_equal_torchmetrics(channels, side, dtype):
    one = torch.rand(3, channels, side, side + 5, dtype=dtype)
    other = (one + 0.1 * torch.randn_like(one)).clamp(0, 1)
    other[2] = 1 - one[2]  # its contrast is negative
    found = similarity_per_image(one, other)
    options = {"reduction": "none", "data_range": 1.0}
    # In float64 to the last digits, whatever the version of torchmetrics.
    close = {"rtol": 1e-5, "atol": 1e-7} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(found.ssim, structural_similarity_index_measure(one, other, **options), **close)
    weights = ms_ssim_weights(side)
    expected = multiscale_structural_similarity_index_measure(one, other, betas=weights, normalize="relu", **options)
    torch.testing.assert_close(found.ms_ssim, expected.to(dtype), **close)


def test_ssim_is_its_formula_at_every_pixel():
    """Against a loop over pixels and the window around each, with reflected borders."""
    one, other = torch.rand(2, 1, 1, 11, 12, dtype=torch.float64)
    weights = torch.exp(-(torch.arange(-5.0, 6.0, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = weights[:, None] * weights / weights.sum() ** 2
    x, y = (torch.nn.functional.pad(each, (5, 5, 5, 5), mode="reflect")[0, 0] for each in (one, other))
    values = []
    for row in range(11):
        for column in range(12):
            a, b = (each[row : row + 11, column : column + 11] for each in (x, y))
            mean, other_mean = (window * a).sum(), (window * b).sum()
            variance, other_variance = (window * (a - mean) ** 2).sum(), (window * (b - other_mean) ** 2).sum()
            covariance = (window * (a - mean) * (b - other_mean)).sum()
            luminance = (2 * mean * other_mean + 1e-4) / (mean**2 + other_mean**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (variance + other_variance + 9e-4))
    found = similarity_per_image(one, other)
    torch.testing.assert_close(found.ssim, torch.stack(values).mean()[None])
    assert torch.equal(found.ms_ssim, found.ssim.clamp(min=0))  # a single scale fits


def test_equal_images_have_similarity_1_and_small_images_have_none():
    images = torch.rand(2, 3, 32, 32)
    found = similarity_per_image(images, images)
    torch.testing.assert_close(found.ssim, torch.ones(2))
    torch.testing.assert_close(found.ms_ssim, torch.ones(2))
    assert similarity_per_image(images[..., :10], images[..., :10]) is None
