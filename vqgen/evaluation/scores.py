"""Metrics of a classifier's label probabilities: inception score and accuracy.

Legend: `n` images, `y` labels.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vqgen.evaluation.distribution import Spread, spread
from vqgen.evaluation.enough import check_count
from vqgen.runtime.randomness import derive_seed

SCORE_PARTS = 10
"""Parts of the images in the published inception score, which is a mean over parts."""


def inception_score(log_probabilities: Float64[Tensor, "n y"]) -> float:
    """Computes exp of the mean divergence KL(p(label | image) || p(label)); in [1, y], larger is better.

    It takes all images together. The published metric is a mean over ten parts: `inception_score_of_parts`.

    Args:
        log_probabilities: log p(label | image); the probabilities of a row sum to 1.

    Raises:
        DataError: There is no image.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4.
    """
    check_count("inception score", len(log_probabilities), 1)
    marginal = log_probabilities.logsumexp(dim=0) - math.log(len(log_probabilities))
    # A label of probability 0 adds 0 to the divergence, but is 0 * -inf = nan here.
    divergence = (log_probabilities.exp() * (log_probabilities - marginal)).nan_to_num(nan=0.0).sum(dim=1)
    return float(divergence.mean().exp())


def inception_score_of_parts(
    log_probabilities: Float64[Tensor, "n y"], seed: int, *, parts: int = SCORE_PARTS
) -> Spread:
    """Computes the published inception score: mean and deviation over parts of the images, in random order.

    The score of fewer images is smaller, so the mean over parts does not estimate the score of all images.

    Args:
        log_probabilities: log p(label | image); the probabilities of a row sum to 1.
        seed: Seed of the order.
        parts: Number of parts.

    Raises:
        DataError: There are fewer images than parts.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4.
    """
    check_count("inception score of parts", len(log_probabilities), parts, "one in each part")
    draws = torch.Generator().manual_seed(derive_seed(seed, "parts"))
    # Samples come sorted by label: without a shuffle, each part would have few labels and a low score.
    shuffled = log_probabilities[torch.randperm(len(log_probabilities), generator=draws)]
    return spread([inception_score(part) for part in shuffled.tensor_split(parts)])


def accuracy(log_probabilities: Float[Tensor, "n y"], labels: Int64[Tensor, " n"]) -> float:
    """Computes the share of images whose likeliest label is their own.

    Raises:
        DataError: There is no image.
    """
    check_count("accuracy", len(labels), 1)
    return float((log_probabilities.argmax(dim=1) == labels).double().mean())
