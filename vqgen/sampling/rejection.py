"""Rejection sampling: keeps the samples of each label that a classifier is surest of.

Legend: `n` images, `y` labels.
"""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vqgen.errors import ConfigError


def label_probability(log_probabilities: Float64[Tensor, "n y"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Looks up p(label | image), the confidence of a classifier in each image.

    Args:
        log_probabilities: log p(label | image) for every label.
        labels: The label of each image, in [-1, y). -1 takes the most likely label.
    """
    own = log_probabilities.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(labels < 0, log_probabilities.amax(dim=1), own).exp()


def candidates_for(count: int, keep: float) -> int:
    """Computes the number of samples to draw so that the share `keep` of them has at least `count` samples.

    Args:
        count: Samples to keep, at least 0.
        keep: Share of the samples to keep, in (0, 1].

    Raises:
        ConfigError: `keep` is not above 0 and at most 1.
    """
    if not 0 < keep <= 1:
        raise ConfigError(f"keep: should be above 0 and at most 1 (1 keeps every sample), found {keep:g}")
    # Without the small difference, 7 / 0.07 would round up to 101: in floating point it is just above 100.
    return math.ceil(count / keep - 1e-9)


def keep_surest(probability: Float64[Tensor, " n"], group_size: int, wanted: int) -> Int64[Tensor, " kept"]:
    """Chooses the images of each group that a classifier is surest of.

    Args:
        probability: p(label | image), group after group.
        group_size: Images in a group, the candidates of one label.
        wanted: Images to keep from each group, at most `group_size`.

    Returns:
        The indices of the kept images, in rising order. Of equally sure images, the earlier one is kept.

    Source: classifier-based rejection sampling, Razavi et al. 2019, arXiv 1906.00446, section 3.4.
    """
    groups = probability.unflatten(0, (-1, group_size))
    # Stable, so that ties go to the earlier image on every machine. The second sort restores the order of drawing.
    kept = groups.argsort(dim=1, descending=True, stable=True)[:, :wanted].sort(dim=1).values
    return (kept + group_size * torch.arange(len(groups))[:, None]).flatten()
