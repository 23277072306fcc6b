"""Distances between the distributions of two sets of features: the Frechet distance and the kernel distance.

Legend: `n m` images of the two sets, `d` dimensions of the space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from vqgen.evaluation.enough import check_count
from vqgen.runtime.randomness import derive_seed

_BLOCK = 1024
"""Rows of a kernel matrix in memory at a time."""

SUBSET_SIZE = 1000
"""Images of each subset of the published kernel distance, which is a mean over subsets."""


@dataclass(frozen=True)
class Spread:
    """Mean and deviation of a metric over several parts of the images.

    Attributes:
        mean: Mean over the parts.
        deviation: Standard deviation of the parts, not of the mean.
    """

    mean: float
    deviation: float


def spread(values: Sequence[float]) -> Spread:
    """Computes mean and standard deviation of the values of several parts.

    The variance is divided by n, not by n - 1, as in the published metrics.
    """
    return Spread(float(np.mean(values)), float(np.std(values)))


def frechet_distance(one: Float64[Tensor, "n d"], other: Float64[Tensor, "m d"]) -> float:
    """Computes the Frechet distance of the Gaussians fitted to two sets of features; smaller is better.

    Raises:
        DataError: A set has no more images than the space has dimensions. Its covariance would be singular, and the
            distance would measure the lack of images.

    Source: Heusel et al. 2017, arXiv 1706.08500, equation 6; covariances with n - 1 as in the published code.
    """
    least = one.shape[1] + 1
    check_count("frechet distance", min(len(one), len(other)), least, "one more than the space has dimensions")
    return frechet_distance_of_gaussians(*_gaussian(one), *_gaussian(other))


def frechet_distance_of_gaussians(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    """Computes ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared 2-Wasserstein distance of two Gaussians.

    Args:
        mean: `(d,)`.
        covariance: `(d, d)`.
        other_mean: `(d,)`.
        other_covariance: `(d, d)`.

    Source: Dowson and Landau 1982, equation 4.
    """
    from scipy.linalg import eigh, eigvalsh

    # C1 C2 is not symmetric: the general matrix root of a nearly singular product has complex entries. The symmetric
    # C1^(1/2) C2 C1^(1/2) has the same eigenvalues, and the trace of the root is the sum of their roots.
    values, vectors = eigh(covariance)
    # Rounding makes eigenvalues of zero slightly negative.
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(eigvalsh(root @ other_covariance @ root).clip(min=0)).sum()
    between_means = np.square(mean - other_mean).sum()
    # Rounding can bring the distance of equal Gaussians below zero.
    return float(max(0.0, between_means + np.trace(covariance) + np.trace(other_covariance) - 2 * overlap))


def _gaussian(features: Float64[Tensor, "n d"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = features.double().numpy()
    # For one dimension numpy returns the variance as a scalar.
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def kernel_distance(one: Float64[Tensor, "n d"], other: Float64[Tensor, "m d"]) -> float:
    """Computes the unbiased squared maximum mean discrepancy under the kernel (x y / d + 1)^3; smaller is better.

    It takes all pairs of images. The published metric is a mean over random subsets (`kernel_distance_of_subsets`),
    which has the same expectation but more noise. For equal distributions the expectation is zero, so values may be
    negative.

    Raises:
        DataError: A set has fewer than two images.

    Source: KID, Binkowski et al. 2018, arXiv 1801.01401, section 4 and equation 4.
    """
    n = len(one)
    m = len(other)
    check_count("kernel distance", min(n, m), 2)
    # Unbiased: within a set, the pairs of an image with itself are left out, and the mean is over the other pairs.
    within = [(_kernel_sum(x, x) - _kernel_diagonal(x)) / (len(x) * (len(x) - 1)) for x in (one, other)]
    return sum(within) - 2 * _kernel_sum(one, other) / (n * m)


def kernel_distance_of_subsets(
    one: Float64[Tensor, "n d"],
    other: Float64[Tensor, "m d"],
    seed: int,
    *,
    subsets: int = 100,
    size: int = SUBSET_SIZE,
) -> Spread:
    """Computes the published kernel distance: mean and deviation over random subsets of both sets.

    Args:
        one: Features of one set.
        other: Features of the other set.
        seed: Seed of the subsets.
        subsets: Number of subsets.
        size: Images of each subset, drawn without replacement.

    Raises:
        DataError: A set has fewer images than a subset.

    Source: KID, Binkowski et al. 2018, arXiv 1801.01401, section 4; 100 subsets of 1,000, as in torchmetrics.
    """
    check_count("kernel distance of subsets", min(len(one), len(other)), size)
    draws = torch.Generator().manual_seed(derive_seed(seed, "subsets"))

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=draws)[:size]]

    # The sets take turns at the generator, as in torchmetrics: the same seed gives the same subsets there.
    return spread([kernel_distance(subset(one), subset(other)) for _ in range(subsets)])


def _kernel_sum(one: Float64[Tensor, "n d"], other: Float64[Tensor, "m d"]) -> float:
    # The whole matrix of 60,000 images would take 29 GB; the sum needs only a block of its rows at a time.
    return sum(float(((rows @ other.T) / one.shape[1] + 1).pow(3).sum()) for rows in one.split(_BLOCK))


def _kernel_diagonal(features: Float64[Tensor, "n d"]) -> float:
    """Sums the kernel of each image with itself."""
    return float((features.square().sum(dim=1) / features.shape[1] + 1).pow(3).sum())
