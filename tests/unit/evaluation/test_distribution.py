"""Frechet and kernel distance against closed forms and torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from vqgen.errors import DataError
from vqgen.evaluation.distribution import (
    Spread,
    frechet_distance,
    frechet_distance_of_gaussians,
    kernel_distance,
    kernel_distance_of_subsets,
    spread,
)
from vqgen.runtime.randomness import derive_seed


def with_moments(mean, covariance, count=50):
    """Points whose sample mean and sample covariance (over n - 1) are exactly those given."""
    raw = torch.randn(count, len(mean), dtype=torch.float64)
    raw -= raw.mean(dim=0)
    whitened = raw @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(raw.T))).T
    return whitened @ torch.linalg.cholesky(covariance).T + mean


def random_covariance(d):
    root = torch.randn(d, d, dtype=torch.float64)
    return root @ root.T + torch.eye(d, dtype=torch.float64)


def test_gaussians_in_one_dimension_have_the_known_distance():
    for mean, deviation, other_mean, other_deviation in [
        (0.0, 1.0, 3.0, 1.0),
        (1.0, 2.0, -1.0, 0.5),
        (0.0, 1.0, 0.0, 1.0),
    ]:
        found = frechet_distance_of_gaussians(
            np.array([mean]), np.array([[deviation**2]]), np.array([other_mean]), np.array([[other_deviation**2]])
        )
        assert found == pytest.approx((mean - other_mean) ** 2 + (deviation - other_deviation) ** 2, abs=1e-12)


def test_covariances_that_commute_have_the_known_distance():
    one = torch.tensor([1.0, 4.0, 9.0]).double()
    other = torch.tensor([2.0, 0.25, 9.0]).double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    shift = torch.tensor([1.0, -2.0, 0.5]).double()
    points = with_moments(torch.zeros(3).double(), turn @ one.diag() @ turn.T)
    others = with_moments(shift, turn @ other.diag() @ turn.T)
    expected = float(shift.square().sum() + (one.sqrt() - other.sqrt()).square().sum())
    assert frechet_distance(points, others) == pytest.approx(expected, abs=1e-9)


def test_covariances_of_any_kind_agree_with_the_matrix_root():
    one = random_covariance(5).numpy()
    other = random_covariance(5).numpy()
    mean = np.arange(5.0)
    other_mean = np.ones(5)
    expected = ((mean - other_mean) ** 2).sum() + np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert frechet_distance_of_gaussians(mean, one, other_mean, other) == pytest.approx(expected, rel=1e-9)


def test_singular_covariance_has_a_finite_distance():
    flat = np.diag([1.0, 0.0, 0.0])
    assert frechet_distance_of_gaussians(np.zeros(3), flat, np.zeros(3), np.eye(3)) == pytest.approx(2.0, abs=1e-9)


def test_frechet_distance_of_a_set_and_itself_is_zero():
    points = torch.randn(40, 6, dtype=torch.float64)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)


def test_images_too_few_for_a_covariance_are_refused():
    few = torch.randn(6, 6, dtype=torch.float64)
    many = torch.randn(7, 6, dtype=torch.float64)
    with pytest.raises(DataError, match=r"frechet distance: should have at least 7 images, .*found 6; take more"):
        frechet_distance(many, few)
    frechet_distance(many, many)


def test_kernel_distance_equals_torchmetrics_and_the_mean_over_pairs():
    one = torch.randn(31, 4, dtype=torch.float64)
    other = 0.5 + torch.randn(17, 4, dtype=torch.float64)
    assert kernel_distance(one, one.flip(0) * 0.9) == pytest.approx(float(poly_mmd(one, one.flip(0) * 0.9)), rel=1e-9)
    naive = sum_over_pairs(one, one, same=True) + sum_over_pairs(other, other, same=True)
    naive -= 2 * sum_over_pairs(one, other, same=False)
    assert kernel_distance(one, other) == pytest.approx(naive, rel=1e-9)


class Features(torch.nn.Module):
    """Returns its input, so that torchmetrics computes the distance of given features."""

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")  # it stores its input
def test_kernel_distance_of_subsets_equals_torchmetrics():
    one = torch.randn(60, 4, dtype=torch.float64)
    other = 0.5 + torch.randn(45, 4, dtype=torch.float64)
    reference = KernelInceptionDistance(feature=Features(), subsets=7, subset_size=20)
    reference.update(one, real=True)
    reference.update(other, real=False)
    torch.manual_seed(derive_seed(3, "subsets"))  # the same draws
    mean, deviation = reference.compute()
    found = kernel_distance_of_subsets(one, other, 3, subsets=7, size=20)
    assert found.mean == pytest.approx(float(mean), rel=1e-9)
    assert found.deviation == pytest.approx(float(deviation), rel=1e-9)
    assert found != kernel_distance_of_subsets(one, other, 4, subsets=7, size=20)


def test_subsets_of_all_images_are_alike():
    one = torch.randn(30, 4, dtype=torch.float64)
    other = torch.randn(30, 4, dtype=torch.float64)
    found = kernel_distance_of_subsets(one, other, 0, subsets=3, size=30)
    assert found.mean == pytest.approx(kernel_distance(one, other), rel=1e-9)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="kernel distance of subsets: should have at least 1,000 images, found 30"):
        kernel_distance_of_subsets(one, other, 0)


def sum_over_pairs(one, other, *, same):
    """The mean of the kernel over pairs of different points, one by one."""
    pairs = [(x, y) for i, x in enumerate(one) for j, y in enumerate(other) if not (same and i == j)]
    return sum(float((x @ y / len(x) + 1) ** 3) for x, y in pairs) / len(pairs)


def test_kernel_distance_is_unbiased():
    # 200 pairs of sets of one distribution: the mean is within four standard errors of zero (chance to fail: 6e-5)
    found = torch.tensor(
        [
            kernel_distance(torch.randn(10, 3, dtype=torch.float64), torch.randn(15, 3, dtype=torch.float64))
            for _ in range(200)
        ]
    )
    assert abs(found.mean()) < 4 * found.std() / 200**0.5


def test_kernel_distance_of_one_image_is_refused():
    with pytest.raises(DataError, match="kernel distance: should have at least 2 images, found 1"):
        kernel_distance(torch.randn(1, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_kernel_distance_does_not_depend_on_the_blocks(monkeypatch, block):
    one = torch.randn(20, 4, dtype=torch.float64)
    other = torch.randn(15, 4, dtype=torch.float64)
    whole = kernel_distance(one, other)
    monkeypatch.setattr("vqgen.evaluation.distribution._BLOCK", block)
    assert kernel_distance(one, other) == pytest.approx(whole, rel=1e-12)


def test_spread_divides_by_the_number_of_values():
    assert spread([1.0, 3.0]) == Spread(2.0, 1.0)
