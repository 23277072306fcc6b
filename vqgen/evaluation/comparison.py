"""All distances between two sets of features at once."""

from vqgen.evaluation.distribution import frechet_distance, kernel_distance
from vqgen.evaluation.features import Features, check_same_space
from vqgen.evaluation.manifold import compare_manifolds


def compare_distributions(real: Features, samples: Features) -> dict[str, float]:
    """All distances between two sets of features.

    Raises:
        DataError: They are of different spaces, or there are too few images for a metric.
    """
    check_same_space(real, samples)
    manifold = compare_manifolds(real.values, samples.values)
    return {
        "frechet_distance": frechet_distance(real.values, samples.values),
        "kernel_distance": kernel_distance(real.values, samples.values),
        "precision": manifold.precision,
        "recall": manifold.recall,
        "density": manifold.density,
        "coverage": manifold.coverage,
    }
