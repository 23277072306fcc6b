import math
import sys

import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from vqgen.evaluation.pixel_errors import ms_ssim_per_image, ms_ssim_weights, mse_per_image, psnr_per_image


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


@pytest.mark.parametrize("b", [1, 3])
def test_ms_ssim_of_large_images_equals_torchmetrics_and_small_images_have_none(b):
    one = torch.rand(b, 1, 176, 176, dtype=torch.float64)
    other = (one + 0.1 * torch.randn_like(one)).clamp(0, 1)
    expected = multiscale_structural_similarity_index_measure(one, other, reduction="none", data_range=1.0)
    torch.testing.assert_close(ms_ssim_per_image(one, other), expected, rtol=1e-4, atol=0)
    assert ms_ssim_per_image(one[..., :10], other[..., :10]) is None


def test_small_images_need_no_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    small = torch.zeros(1, 1, 10, 10)
    assert ms_ssim_per_image(small, small) is None
    with pytest.raises(ImportError):
        ms_ssim_per_image(torch.zeros(1, 1, 11, 11), torch.zeros(1, 1, 11, 11))
