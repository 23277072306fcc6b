import math

import pytest
import torch

from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums


def test_usage_and_perplexity_of_known_histograms():
    uniform = code_usage(torch.tensor([5, 5, 5, 5]))
    assert (uniform.usage, uniform.perplexity) == (1.0, pytest.approx(4.0, abs=1e-12))
    one = code_usage(torch.tensor([0, 9, 0, 0]))
    assert (one.usage, one.perplexity) == (0.25, pytest.approx(1.0, abs=1e-12))
    uneven = code_usage(torch.tensor([3, 1, 0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert uneven.perplexity == pytest.approx(math.exp(entropy), abs=1e-12)
    assert uneven.usage == pytest.approx(2 / 3)


def test_an_empty_histogram_is_refused():
    with pytest.raises(ValueError, match="at least one code, found none"):
        code_usage(torch.zeros(4, dtype=torch.int64))


def test_mse_is_of_intensities_from_0_to_1_and_clamps_the_reconstruction():
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    assert mse_per_image(images + 1, images).tolist() == [0.25, 0.25, 0.0]  # the last was clamped
    assert mse_per_image(images, images).dtype == torch.float64


def test_psnr_is_minus_10_log10_and_at_most_100():
    assert psnr_per_image(torch.tensor([1.0, 0.01, 0.0])).tolist() == pytest.approx([0.0, 20.0, 100.0])


@pytest.mark.parametrize("cuts", [[8], [1, 7], [3, 3, 2], [1] * 8])
def test_batches_sum_to_the_whole(cuts):
    mse, grids = torch.rand(8, dtype=torch.float64), torch.randint(5, (8, 2, 2))
    sums = ReconstructionSums(("bottom",), 6, torch.device("cpu"))
    for part, grid in zip(mse.split(cuts), grids.split(cuts), strict=True):
        sums.add(part, {"bottom": grid})
    metrics = sums.result()
    assert metrics["mse"] == pytest.approx(float(mse.mean()), abs=1e-12)
    assert metrics["psnr"] == pytest.approx(float((-10 * mse.log10()).mean()), abs=1e-10)
    whole = code_usage(torch.bincount(grids.flatten(), minlength=6))
    assert (metrics["usage_bottom"], metrics["perplexity_bottom"]) == (whole.usage, whole.perplexity)
    assert sums.result() == metrics  # reading changes nothing
