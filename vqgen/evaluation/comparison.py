"""All distances between two sets of features, and all inception scores of one set, by name."""

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
    """Computes all distances between two sets of features.

    The kernel distance of subsets is among them if both sets have enough images for a subset.

    Args:
        real: Features of real images.
        samples: Features of samples.
        seed: Seed of the subsets.

    Returns:
        Name of the metric -> value.

    Raises:
        DataError: The features are from different spaces, or there are too few images for a metric.
    """
    check_same_space(real, samples)
    manifold = compare_manifolds(real.values, samples.values)
    of_subsets: dict[str, float] = {}
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
    """Computes the inception score of all images and, if there are enough images, its mean over parts of them.

    Args:
        features: Features of the images, with their label probabilities.
        seed: Seed of the parts.

    Returns:
        Name of the metric -> value.

    Raises:
        DataError: There is no image.
    """
    scores = {"inception_score": inception_score(features.log_probabilities)}
    if len(features) >= SCORE_PARTS:
        found = inception_score_of_parts(features.log_probabilities, seed)
        scores |= {"inception_score_of_parts": found.mean, "inception_score_deviation": found.deviation}
    return scores
