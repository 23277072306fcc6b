import pytest
import torch

from vqgen.errors import DataError
from vqgen.evaluation import comparison
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.distribution import frechet_distance, kernel_distance, kernel_distance_of_subsets
from vqgen.evaluation.features import Features
from vqgen.evaluation.manifold import compare_manifolds
from vqgen.evaluation.scores import inception_score, inception_score_of_parts


def features(count, shift=0.0, space="classifier 0123"):
    logits = torch.randn(count, 5, dtype=torch.float64)
    return Features(torch.randn(count, 4, dtype=torch.float64) + shift, space, logits.log_softmax(1))


def test_distances_equal_those_of_their_functions():
    real = features(30)
    samples = features(25, 0.5)
    found = compare_distributions(real, samples, 0)
    manifold = compare_manifolds(real.values, samples.values)
    assert found == {
        "frechet_distance": frechet_distance(real.values, samples.values),
        "kernel_distance": kernel_distance(real.values, samples.values),
        "precision": manifold.precision,
        "recall": manifold.recall,
        "density": manifold.density,
        "coverage": manifold.coverage,
    }


def test_subsets_are_compared_if_both_sets_have_enough_images(monkeypatch):
    monkeypatch.setattr(comparison, "SUBSET_SIZE", 25)
    monkeypatch.setattr(
        comparison,
        "kernel_distance_of_subsets",
        lambda one, other, seed: kernel_distance_of_subsets(one, other, seed, subsets=3, size=25),
    )
    real = features(30)
    samples = features(25)
    found = compare_distributions(real, samples, 7)
    expected = kernel_distance_of_subsets(real.values, samples.values, 7, subsets=3, size=25)
    assert (found["kernel_distance_of_subsets"], found["kernel_distance_deviation"]) == (
        expected.mean,
        expected.deviation,
    )
    assert "kernel_distance_of_subsets" not in compare_distributions(real, features(24), 7)


def test_features_of_two_spaces_are_refused():
    with pytest.raises(DataError, match="should be of one space"):
        compare_distributions(features(30), features(30, space="inception 9"), 0)


@pytest.mark.parametrize("count", [9, 10])
def test_inception_score_of_parts_needs_an_image_in_each(count):
    given = features(count)
    found = inception_scores(given, 3)
    assert found["inception_score"] == inception_score(given.log_probabilities)
    assert ("inception_score_of_parts" in found) == (count >= 10)
    if count >= 10:
        parts = inception_score_of_parts(given.log_probabilities, 3)
        assert (found["inception_score_of_parts"], found["inception_score_deviation"]) == (parts.mean, parts.deviation)
