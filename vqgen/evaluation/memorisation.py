"""A test for copies: the distances of samples to their nearest training image, compared with held-out images.

Legend: `m` samples, `v` held-out real images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vqgen.evaluation.enough import check_count

COPY_PERCENTILE = 1.0
"""A sample counts as a copy if it is nearer to a training image than this percentile of the held-out images."""


@dataclass(frozen=True)
class Memorisation:
    """The nearness of samples to training images.

    Attributes:
        copies: Share of samples nearer than the first percentile of held-out images. Real images would have 0.01.
        nearer: Chance that a sample is nearer to its nearest training image than a held-out image to its own. Real
            images would have 0.5; a model that learned the training images by heart has 1.
        copy_distance: The distance below which a sample counts as a copy.
    """

    copies: float
    nearer: float
    copy_distance: float


def memorisation(samples: Float64[Tensor, " m"], held_out: Float64[Tensor, " v"]) -> Memorisation:
    """Compares the distances of samples and of held-out images to their nearest training image.

    Args:
        samples: The distance of each sample.
        held_out: The distance of each held-out real image.

    Raises:
        DataError: There are no samples, or no held-out images.
    """
    for distances in (samples, held_out):
        check_count("memorisation", len(distances), 1)
    threshold = torch.quantile(held_out, COPY_PERCENTILE / 100)
    ordered = held_out.sort().values
    # `nearer` is the Mann-Whitney statistic: the share of pairs (sample, held-out) where the sample is nearer, with
    # ties counted half. Binary searches in sorted distances count the pairs without a matrix of them.
    smaller, not_larger = (torch.searchsorted(ordered, samples, right=right).double() for right in (False, True))
    nearer = 1 - (smaller + not_larger).mean() / (2 * len(held_out))
    return Memorisation(float((samples < threshold).double().mean()), float(nearer), float(threshold))
