"""Are samples copies of training images? Distances to the nearest training image, beside those of held-out images.

Legend: `m` samples, `v` held-out real images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vqgen.evaluation.distribution import check_count

COPY_PERCENTILE = 1.0
"""A sample nearer to a training image than this percentile of the held-out images counts as a copy of it."""


@dataclass(frozen=True)
class Memorisation:
    """How near samples are to training images.

    Attributes:
        copies: Share of samples nearer than the first percentile of held-out images: 0.01 is as among real ones.
        nearer: Chance that a sample is nearer to its nearest training image than a held-out image to its own: 0.5 is
            as among real ones, 1 learned by heart.
        copy_distance: The distance below which a sample counts as a copy.
    """

    copies: float
    nearer: float
    copy_distance: float


def memorisation(samples: Float64[Tensor, " m"], held_out: Float64[Tensor, " v"]) -> Memorisation:
    """Compares distances to the nearest training image.

    Args:
        samples: Of each sample.
        held_out: Of each held-out real image.

    Raises:
        DataError: There are no images of a kind.
    """
    for distances in (samples, held_out):
        check_count("memorisation", len(distances), 1)
    threshold = torch.quantile(held_out, COPY_PERCENTILE / 100)
    ordered = held_out.sort().values
    smaller, not_larger = (torch.searchsorted(ordered, samples, right=right).double() for right in (False, True))
    nearer = 1 - (smaller + not_larger).mean() / (2 * len(held_out))  # of equal distances, half
    return Memorisation(float((samples < threshold).double().mean()), float(nearer), float(threshold))
