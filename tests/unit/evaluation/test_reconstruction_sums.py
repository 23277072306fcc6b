import pytest
import torch

from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.reconstruction_sums import ReconstructionSums


@pytest.mark.parametrize("cuts", [[8], [1, 7], [3, 3, 2], [1] * 8])
def test_batches_sum_to_the_whole(cuts):
    mse = torch.rand(8, dtype=torch.float64)
    grids = torch.randint(5, (8, 2, 2))
    sums = ReconstructionSums(("bottom",), 6, torch.device("cpu"))
    for part, grid in zip(mse.split(cuts), grids.split(cuts), strict=True):
        sums.add(part, {"bottom": grid})
    metrics = sums.result()
    assert metrics["mse"] == pytest.approx(float(mse.mean()), abs=1e-12)
    assert metrics["psnr"] == pytest.approx(float((-10 * mse.log10()).mean()), abs=1e-10)
    whole = code_usage(torch.bincount(grids.flatten(), minlength=6))
    assert (metrics["usage_bottom"], metrics["perplexity_bottom"]) == (whole.usage, whole.perplexity)
    assert sums.result() == metrics  # reading changes nothing
