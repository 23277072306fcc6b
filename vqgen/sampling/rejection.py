"""Rejection: of each label the samples are kept that a classifier is surest of.

Legend: `n` images, `y` labels.
"""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vqgen.errors import ConfigError


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
