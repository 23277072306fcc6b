"""Quality and diversity measured apart: the regions of two sets of features, each a union of balls, compared.

Precision is the share of samples in a ball around a real image: quality. Recall is the share of real images in a ball
around a sample: diversity. Density and coverage are their counterparts, which outliers disturb less.

Legend: `n` real images, `m` samples, `d` dimensions of the space, `k` neighbours.
"""

from contextlib import AbstractContextManager

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vqgen.evaluation.enough import check_count
from vqgen.runtime.threads import computing_threads, threads_for_work

PRECISION_NEIGHBOURS = 3
"""Neighbours that define the balls of precision and recall, as in their paper."""

DENSITY_NEIGHBOURS = 5
"""Neighbours that define the balls of density and coverage, as in their paper."""

_BLOCK = 1024
"""Rows of a distance matrix in memory at a time: the whole one of 60,000 images would take 29 GB."""


def precision(
    real: Float64[Tensor, "n d"], samples: Float64[Tensor, "m d"], neighbours: int = PRECISION_NEIGHBOURS
) -> float:
    """Computes the share of samples inside any ball around a real image; with the sets exchanged it is the recall.

    The radius of a ball is the distance of the real image to its k-th nearest other real image.

    Raises:
        DataError: There are not enough images.

    Source: improved precision and recall, Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2.
    """
    check_count("precision", len(samples), 1)
    return float((_balls_around(real, samples, neighbours)[0] > 0).double().mean())


def density_coverage(
    real: Float64[Tensor, "n d"], samples: Float64[Tensor, "m d"], neighbours: int = DENSITY_NEIGHBOURS
) -> tuple[float, float]:
    """Computes density and coverage.

    Density is 1 for real images, and may exceed 1. Coverage is a share, in [0, 1].

    Returns:
        Density, the mean number of balls around real images that contain a sample, over `neighbours`; and coverage,
        the share of balls that contain any sample.

    Raises:
        DataError: There are not enough images.

    Source: Naeem et al. 2020, arXiv 2002.09797, section 3.
    """
    check_count("density", len(samples), 1)
    balls_of_sample, samples_in_ball = _balls_around(real, samples, neighbours)
    # A real image lies in the balls of about k others: dividing by k makes 1 the density of real images.
    return float(balls_of_sample.double().mean() / neighbours), float((samples_in_ball > 0).double().mean())


def _balls_around(
    real: Float64[Tensor, "n d"], samples: Float64[Tensor, "m d"], neighbours: int
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " n"]]:
    """Counts the balls around real images that contain each sample, and the samples in each ball."""
    radii = neighbour_distances(real, neighbours)
    counts = []
    inside = torch.zeros(len(real), dtype=torch.int64)
    with _threads(samples, real):
        for block in samples.split(_BLOCK):
            # Column j is compared with the radius of real image j: balls are small where real images are dense.
            within = torch.cdist(block, real) <= radii
            counts.append(within.sum(dim=1))
            inside += within.sum(dim=0)
    return torch.cat(counts), inside


def neighbour_distances(features: Float64[Tensor, "n d"], neighbours: int) -> Float64[Tensor, " n"]:
    """Computes the distance of each image to its k-th nearest other image.

    Raises:
        DataError: There are fewer than k other images.
    """
    check_count("neighbours", len(features), neighbours + 1, f"for {neighbours} neighbours")
    # One more than k: the nearest of all is the image itself, at distance 0.
    with _threads(features, features):
        parts = [
            torch.cdist(block, features).topk(neighbours + 1, largest=False).values for block in features.split(_BLOCK)
        ]
    return torch.cat(parts)[:, -1]


def nearest(
    queries: Float64[Tensor, "m d"], among: Float64[Tensor, "n d"]
) -> tuple[Float64[Tensor, " m"], Int64[Tensor, " m"]]:
    """Finds the nearest of `among` for each query.

    Returns:
        Its distance and its index.

    Raises:
        DataError: A set is empty.
    """
    for features in (queries, among):
        check_count("nearest neighbours", len(features), 1)
    with _threads(queries, among):
        found = [torch.cdist(block, among).min(dim=1) for block in queries.split(_BLOCK)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def _threads(one: Float64[Tensor, "m d"], other: Float64[Tensor, "n d"]) -> AbstractContextManager[None]:
    """Computes in as many threads as a block of distances can use."""
    return computing_threads(threads_for_work(min(_BLOCK, len(one)) * other.numel()))
