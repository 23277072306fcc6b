"""How far two sets of features are apart as distributions: Frechet distance and kernel distance.

Legend: `n m` images of the two sets, `d` dimensions of the space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed

_BLOCK = 1024
"""Rows of a kernel matrix that are held at once."""

SUBSET_SIZE = 1000
"""Images of each subset over which the published kernel distance is a mean."""


@dataclass(frozen=True)
class Spread:
    """A metric over several parts of the images.

    Attributes:
        mean: Mean over the parts.
        deviation: Standard deviation of the parts, not of the mean.
    """

    mean: float
    deviation: float


def spread(values: Sequence[float]) -> Spread:
    """Computes mean and standard deviation (over n, as the published metrics) of the metrics of several parts."""
    return Spread(float(np.mean(values)), float(np.std(values)))


def frechet_distance(one: Float64[Tensor, "n d"], other: Float64[Tensor, "m d"]) -> float:
    """Computes the Frechet distance of the Gaussians fitted to two sets of features; smaller is better.

    Raises:
        DataError: A set has no more images than the space has dimensions: its covariance is singular, and the distance
            would be that of the missing images.

    Source: Heusel et al. 2017, arXiv 1706.08500, equation 6; covariances with n - 1 as in the published code.
    """
    for features in (one, other):
        check_count("frechet distance", len(features), features.shape[1] + 1, "one more than the space has dimensions")
    return frechet_distance_of_gaussians(*_gaussian(one), *_gaussian(other))


def frechet_distance_of_gaussians(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], other_mean: NDArray, other_covariance: NDArray
) -> float:
    """Computes ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared 2-Wasserstein distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric: no
    complex numbers come up where a covariance is nearly singular.

    Args:
        mean: `(d,)`.
        covariance: `(d, d)`.
        other_mean: `(d,)`.
        other_covariance: `(d, d)`.

    Source: Dowson and Landau 1982, equation 4.
    """
    from scipy.linalg import eigh, eigvalsh

    values, vectors = eigh(covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    overlap = np.sqrt(eigvalsh(root @ other_covariance @ root).clip(min=0)).sum()
    apart = np.square(mean - other_mean).sum()
    return float(max(0.0, apart + np.trace(covariance) + np.trace(other_covariance) - 2 * overlap))


def _gaussian(features: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = features.double().numpy()
    return values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False))


def kernel_distance(one: Float64[Tensor, "n d"], other: Float64[Tensor, "m d"]) -> float:
    """Computes the unbiased squared maximum mean discrepancy under the kernel (x y / d + 1)^3; smaller is better.

    Over all pairs, where the published metric is the mean over random subsets (`kernel_distance_of_subsets`): the same
    expectation, with no draws and less noise. Of equal distributions it is zero on average, so it may be negative.

    Raises:
        DataError: A set has fewer than two images.

    Source: KID, Binkowski et al. 2018, arXiv 1801.01401, section 4 and equation 4.
    """
    n, m = len(one), len(other)
    for count in (n, m):
        check_count("kernel distance", count, 2)
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
    """Computes the kernel distance as it is published: mean and deviation over random subsets of both sets.

    Args:
        one: Features of one set.
        other: Features of the other.
        seed: Seed of the choice.
        subsets: How many.
        size: Images of each, drawn without replacement.

    Raises:
        DataError: A set has fewer images than a subset.

    Source: KID, Binkowski et al. 2018, arXiv 1801.01401, section 4; 100 subsets of 1,000 as torchmetrics has them.
    """
    for features in (one, other):
        check_count("kernel distance of subsets", len(features), size)
    draws = torch.Generator().manual_seed(derive_seed(seed, "subsets"))
    return spread(
        [
            kernel_distance(
                *(features[torch.randperm(len(features), generator=draws)[:size]] for features in (one, other))
            )
            for _ in range(subsets)
        ]
    )


def _kernel_sum(one: Tensor, other: Tensor) -> float:
    return sum(float(((rows @ other.T) / one.shape[1] + 1).pow(3).sum()) for rows in one.split(_BLOCK))


def _kernel_diagonal(features: Tensor) -> float:
    return float((features.square().sum(dim=1) / features.shape[1] + 1).pow(3).sum())


def check_count(metric: str, found: int, least: int, why: str = "") -> None:
    """Refuses a set of images that is too small for a metric.

    Raises:
        DataError: It is.
    """
    if found < least:
        raise DataError(
            f"{metric}: should have at least {least} images{f', {why}' if why else ''}, found {found}; "
            "take more samples (--images-per-label), or real images of a larger split (--reference train)"
        )
