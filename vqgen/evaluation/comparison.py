"""All distances between two sets of features at once."""

from vqgen.evaluation.distribution import (
    SUBSET_SIZE,
    frechet_distance,
    kernel_distance,
    kernel_distance_of_subsets,
)
from vqgen.evaluation.features import Features, check_same_space
from vqgen.evaluation.manifold import compare_manifolds
from vqgen.evaluation.scores import SCORE_PARTS, inception_score, inception_score_of_parts


def compare_distributions(real: Features, samples: Features, seed: int) -> dict[str, float]:
    """All distances between two sets of features; the kernel distance of subsets too where there are images enough.

    Raises:
        DataError: They are of different spaces, or there are too few images for a metric.
    """
    check_same_space(real, samples)
    manifold, of_subsets = compare_manifolds(real.values, samples.values), {}
    if min(len(real), len(samples)) >= SUBSET_SIZE:
        found = kernel_distance_of_subsets(real.values, samples.values, seed)
        of_subsets = {"kernel_distance_of_subsets": found.mean, "kernel_distance_deviation": found.deviation}
    return {
        "frechet_distance": frechet_distance(real.values, samples.values),
        "kernel_distance": kernel_distance(real.values, samples.values),
        **of_subsets,
        "precision": manifold.precision,
        "recall": manifold.recall,
        "density": manifold.density,
        "coverage": manifold.coverage,
    }


def inception_scores(features: Features, seed: int) -> dict[str, float]:
    """The inception score, and that of parts where there are images enough."""
    scores = {"inception_score": inception_score(features.log_probabilities)}
    if len(features) >= SCORE_PARTS:
        found = inception_score_of_parts(features.log_probabilities, seed)
        scores |= {"inception_score_of_parts": found.mean, "inception_score_deviation": found.deviation}
    return scores
