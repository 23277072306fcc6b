import pytest
import torch

from vqgen.errors import DataError
from vqgen.evaluation import comparison
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.distribution import frechet_distance, kernel_distance, kernel_distance_of_subsets
from vqgen.evaluation.features import Features
from vqgen.evaluation.manifold import density_coverage, precision
from vqgen.evaluation.scores import inception_score, inception_score_of_parts


def features(count, shift=0.0, space="classifier 0123"):
    logits = torch.randn(count, 5, dtype=torch.float64)
    return Features(torch.randn(count, 4, dtype=torch.float64) + shift, space, logits.log_softmax(1))


def test_distances_equal_those_of_their_functions():
    real = features(30)
    samples = features(25, 0.5)
    found = compare_distributions(real, samples, 0)
    density, coverage = density_coverage(real.values, samples.values)
    assert found.values == {
        "frechet_distance": frechet_distance(real.values, samples.values),
        "kernel_distance": kernel_distance(real.values, samples.values),
        "precision": precision(real.values, samples.values),
        "recall": precision(samples.values, real.values),
        "density": density,
        "coverage": coverage,
    }


def test_subsets_are_compared_if_both_sets_have_enough_images(monkeypatch):
    monkeypatch.setattr(
        comparison,
        "kernel_distance_of_subsets",
        lambda one, other, seed: kernel_distance_of_subsets(one, other, seed, subsets=3, size=25),
    )
    real = features(30)
    samples = features(25)
    found = compare_distributions(real, samples, 7).values
    expected = kernel_distance_of_subsets(real.values, samples.values, 7, subsets=3, size=25)
    assert (found["kernel_distance_of_subsets"], found["kernel_distance_deviation"]) == (
        expected.mean,
        expected.deviation,
    )
    too_few = compare_distributions(real, features(24), 7)
    assert "kernel_distance_of_subsets" not in too_few.values
    assert too_few.left_out == {"kernel_distance_of_subsets": "it needs at least 25 images, found 24"}


@pytest.mark.parametrize(
    ("real", "samples", "lacking"),
    [
        (30, 30, {}),
        (5, 30, {"density": 6, "coverage": 6}),
        (4, 30, {"frechet_distance": 5, "density": 6, "coverage": 6}),
        (30, 3, {"frechet_distance": 5, "recall": 4}),
        (3, 3, {"frechet_distance": 5, "precision": 4, "recall": 4, "density": 6, "coverage": 6}),
        (1, 30, {"frechet_distance": 5, "kernel_distance": 2, "precision": 4, "density": 6, "coverage": 6}),
        (30, 1, {"frechet_distance": 5, "kernel_distance": 2, "recall": 4}),
        (
            1, 1,
            {"frechet_distance": 5, "kernel_distance": 2, "precision": 4, "recall": 4, "density": 6, "coverage": 6},
        ),
    ],
)  # fmt: skip
def test_each_distance_is_left_out_if_it_lacks_images(real, samples, lacking):
    whole = compare_distributions(features(30), features(30), 0).values
    found = compare_distributions(features(real), features(samples), 0)
    assert found.values.keys() == whole.keys() - lacking.keys()
    of_subsets = found.left_out["kernel_distance_of_subsets"]
    assert of_subsets == f"it needs at least 1,000 images, found {min(real, samples)}"
    reasons = {name: reason for name, reason in found.left_out.items() if name != "kernel_distance_of_subsets"}
    assert reasons.keys() == lacking.keys()
    for name, needed in lacking.items():
        assert reasons[name].startswith(f"it needs at least {needed} images")


def test_features_of_two_spaces_are_refused():
    with pytest.raises(DataError, match="should be of one space"):
        compare_distributions(features(30), features(30, space="inception 9"), 0)


@pytest.mark.parametrize("count", [9, 10])
def test_inception_score_of_parts_needs_an_image_in_each(count):
    given = features(count)
    computed = inception_scores(given, 3)
    found = computed.values
    assert ("inception_score_of_parts" in computed.left_out) == (count < 10)
    assert found["inception_score"] == inception_score(given.log_probabilities)
    assert ("inception_score_of_parts" in found) == (count >= 10)
    if count >= 10:
        parts = inception_score_of_parts(given.log_probabilities, 3)
        assert (found["inception_score_of_parts"], found["inception_score_deviation"]) == (parts.mean, parts.deviation)
