"""All distances between two sets of features, and all inception scores of one set, by name."""

from vqgen.evaluation.distribution import frechet_distance, kernel_distance, kernel_distance_of_subsets
from vqgen.evaluation.features import Features, check_same_space
from vqgen.evaluation.manifold import density_coverage, precision
from vqgen.evaluation.metric import Computed, compute_each
from vqgen.evaluation.scores import inception_score, inception_score_of_parts


def compare_distributions(real: Features, samples: Features, seed: int) -> Computed:
    """Computes all distances between two sets of features, as far as there are enough images.

    Args:
        real: Features of real images.
        samples: Features of samples.
        seed: Seed of the subsets.

    Raises:
        DataError: The features are from different spaces.
    """
    check_same_space(real, samples)
    one = real.values
    other = samples.values

    def of_subsets() -> dict[str, float]:
        found = kernel_distance_of_subsets(one, other, seed)
        return {"kernel_distance_of_subsets": found.mean, "kernel_distance_deviation": found.deviation}

    return compute_each(
        {
            "frechet_distance": lambda: frechet_distance(one, other),
            "kernel_distance": lambda: kernel_distance(one, other),
            "kernel_distance_of_subsets": of_subsets,
            "precision": lambda: precision(one, other),
            "recall": lambda: precision(other, one),
            "density, coverage": lambda: dict(zip(("density", "coverage"), density_coverage(one, other), strict=True)),
        }
    )


def inception_scores(features: Features, seed: int) -> Computed:
    """Computes the inception score of all images and its mean over parts of them, as far as there are enough images.

    Args:
        features: Features of the images, with their label probabilities.
        seed: Seed of the parts.
    """

    def of_parts() -> dict[str, float]:
        found = inception_score_of_parts(features.log_probabilities, seed)
        return {"inception_score_of_parts": found.mean, "inception_score_deviation": found.deviation}

    return compute_each(
        {
            "inception_score": lambda: inception_score(features.log_probabilities),
            "inception_score_of_parts": of_parts,
        }
    )
