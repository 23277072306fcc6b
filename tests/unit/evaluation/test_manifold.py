"""Precision, recall, density, coverage and neighbours against scikit-learn's NearestNeighbors and by definition."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vqgen.errors import DataError
from vqgen.evaluation import manifold
from vqgen.evaluation.manifold import density_coverage, nearest, neighbour_distances, precision


def points(count, shift=0.0, d=5):
    return torch.randn(count, d, dtype=torch.float64) + shift


def radii(features, k):
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(features).kneighbors(features)
    return distances[:, -1]


def inside(real, samples, k):
    """True where a sample (row) lies in the ball of a real image (column)."""
    distances = np.linalg.norm(samples[:, None] - real[None], axis=-1)
    return distances <= radii(real, k)[None]


def all_four(real, samples):
    return precision(real, samples), precision(samples, real), *density_coverage(real, samples)


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("block", [7, 1024])
def test_all_four_metrics_equal_their_definition(monkeypatch, shift, block):
    monkeypatch.setattr(manifold, "_BLOCK", block)
    real = points(60)
    samples = points(45, shift)
    found_precision, recall, density, coverage = all_four(real, samples)
    x = real.numpy()
    y = samples.numpy()
    assert found_precision == pytest.approx(inside(x, y, 3).any(axis=1).mean())
    assert recall == pytest.approx(inside(y, x, 3).any(axis=1).mean())
    assert density == pytest.approx(inside(x, y, 5).sum(axis=1).mean() / 5)
    assert coverage == pytest.approx(inside(x, y, 5).any(axis=0).mean())
    assert shift > 1 or 0.3 < found_precision < 1


def test_set_compared_with_itself_is_perfect():
    real = points(40)
    found_precision, recall, _, coverage = all_four(real, real)
    assert (found_precision, recall, coverage) == (1, 1, 1)


def test_samples_of_one_mode_of_two_have_precision_without_recall():
    near = points(50)
    far = points(50, 100)
    assert precision(torch.cat([near, far]), points(50)) > 0.5
    _, recall, _, coverage = all_four(torch.cat([near, far]), points(50))
    assert recall <= 0.5
    assert coverage <= 0.5


def test_neighbours_equal_scikit_learn(monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK", 9)
    base = points(50)
    queries = points(30)
    distances, indices = NearestNeighbors(n_neighbors=1).fit(base).kneighbors(queries)
    found_distances, found_indices = nearest(queries, base)
    assert found_indices.tolist() == indices[:, 0].tolist()
    assert np.allclose(found_distances, distances[:, 0], atol=1e-7)
    assert np.allclose(neighbour_distances(base, 4), radii(base.numpy(), 4), atol=1e-7)


def test_images_too_few_for_neighbours_are_refused():
    with pytest.raises(DataError, match="neighbours: should have at least 4 images, for 3 neighbours, found 3"):
        precision(points(3), points(9))
    with pytest.raises(DataError, match="density: should have at least 1 image, found 0"):
        density_coverage(points(9), points(0))
    with pytest.raises(DataError, match="nearest neighbours: should have at least 1 image, found 0"):
        nearest(points(3), points(0))
