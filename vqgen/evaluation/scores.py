"""What classifiers say of images: inception score, accuracy, and which samples a classifier is surest of.

Legend: `n` images, `y` labels.
"""

import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vqgen.errors import ConfigError
from vqgen.evaluation.distribution import Spread, check_count, spread
from vqgen.runtime.randomness import derive_seed

SCORE_PARTS = 10
"""Parts of the images over which the published inception score is a mean."""


def inception_score(log_probabilities: Float64[Tensor, "n y"]) -> float:
    """Computes exp of the mean divergence KL(p(label | image) || p(label)); in [1, y], larger is better.

    Over all images at once, where the published figure is the mean over ten parts: `inception_score_of_parts`.

    Args:
        log_probabilities: log p(label | image), rows that sum to 1.

    Raises:
        DataError: There is no image.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4.
    """
    check_count("inception score", len(log_probabilities), 1)
    marginal = log_probabilities.logsumexp(dim=0) - math.log(len(log_probabilities))
    divergence = (log_probabilities.exp() * (log_probabilities - marginal)).nan_to_num(nan=0.0).sum(dim=1)
    return float(divergence.mean().exp())


def inception_score_of_parts(
    log_probabilities: Float64[Tensor, "n y"], seed: int, *, parts: int = SCORE_PARTS
) -> Spread:
    """Computes the inception score as it is published: mean and deviation over parts of the images in random order.

    Of fewer images the score is smaller, so it is no estimate of the score of all.

    Args:
        log_probabilities: log p(label | image), rows that sum to 1.
        seed: Seed of the order.
        parts: How many.

    Raises:
        DataError: There are fewer images than parts.

    Source: Salimans et al. 2016, arXiv 1606.03498, section 4.
    """
    check_count("inception score of parts", len(log_probabilities), parts, "one in each part")
    draws = torch.Generator().manual_seed(derive_seed(seed, "parts"))
    shuffled = log_probabilities[torch.randperm(len(log_probabilities), generator=draws)]
    return spread([inception_score(part) for part in shuffled.tensor_split(parts)])


def accuracy(log_probabilities: Float[Tensor, "n y"], labels: Int64[Tensor, " n"]) -> float:
    """Computes the share of images whose likeliest label is their own.

    Raises:
        DataError: There is no image.
    """
    check_count("accuracy", len(labels), 1)
    return float((log_probabilities.argmax(dim=1) == labels).double().mean())


def label_probability(log_probabilities: Float64[Tensor, "n y"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Looks up p(label | image): how sure a classifier is of each image.

    Args:
        log_probabilities: Of every label.
        labels: Each image's label; -1 takes the likeliest one.
    """
    own = log_probabilities.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(labels < 0, log_probabilities.amax(dim=1), own).exp()


def candidates_for(count: int, keep: float) -> int:
    """How many samples to draw so that the kept share of them is `count`.

    Raises:
        ConfigError: `keep` is not above 0 and at most 1.
    """
    if not 0 < keep <= 1:
        raise ConfigError(f"keep: should be above 0 and at most 1 (1 keeps every sample), found {keep:g}")
    return math.ceil(count / keep - 1e-9)  # 7 / 0.07 is a little more than 100


def keep_surest(probability: Float64[Tensor, " n"], group_size: int, wanted: int) -> Int64[Tensor, " kept"]:
    """Chooses, of each group, the images that a classifier is surest of.

    Args:
        probability: p(label | image), group after group.
        group_size: Images of a group: the candidates of one label.
        wanted: Images to keep of each group, at most `group_size`.

    Returns:
        Their indices, in their order; of equally sure ones the earlier.

    Source: classifier-based rejection sampling, Razavi et al. 2019, arXiv 1906.00446, section 3.4.
    """
    groups = probability.unflatten(0, (-1, group_size))
    kept = groups.argsort(dim=1, descending=True, stable=True)[:, :wanted].sort(dim=1).values
    return (kept + group_size * torch.arange(len(groups))[:, None]).flatten()
