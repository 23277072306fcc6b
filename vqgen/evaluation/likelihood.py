"""What the priors think of images: nats per code, level by level, and the bits per pixel that they come to.

Legend: `b` images, `h w` grid of a level, `hc wc` grid of the coarser level.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.codes import Codes
from vqgen.compute import Compute
from vqgen.models.pixelcnn import PixelCNN

_BATCH_SIZE = 64


@torch.no_grad()
def mean_nats_per_code(
    prior: PixelCNN,
    codes: Int64[Tensor, "b h w"],
    coarser: Int64[Tensor, "b hc wc"] | None,
    labels: Int64[Tensor, " b"],
    compute: Compute,
) -> float:
    """Computes the mean of -log p(code | earlier codes, label, coarser codes) over images and positions, in nats.

    Args:
        prior: The prior of a level, in evaluation mode, where `compute` has put it.
        codes: Codes of its level.
        coarser: Codes that condition them; None at the coarsest level.
        labels: -1 for no label.
        compute: Device and number format.
    """
    total = 0.0
    for rows in torch.arange(len(codes)).split(_BATCH_SIZE):
        own, label = codes[rows].to(compute.device), labels[rows].to(compute.device)
        with compute.autocast():
            condition = prior.encode_condition(None if coarser is None else coarser[rows].to(compute.device))
            total -= float(prior.log_likelihood(own, label, condition).sum())
    return total / codes.numel()


def likelihood_figures(
    priors: Mapping[str, PixelCNN], codes: Codes, labels: Int64[Tensor, " b"], pixels: int, compute: Compute
) -> dict[str, float]:
    """Computes nats_LEVEL per code of each level that has a prior and, when all have one, bpp.

    Args:
        priors: Level -> prior.
        codes: Codes of the images, all levels.
        labels: -1 for no label.
        pixels: Pixels of an image, over which the bits of all its codes are spread.
        compute: Device and number format.
    """
    figures, bits = {}, 0.0
    for place, level in enumerate(codes.levels):
        if level not in priors:
            return figures
        coarser = codes.grids[codes.levels[place - 1]] if place else None
        nats = mean_nats_per_code(priors[level], codes.grids[level], coarser, labels, compute)
        figures[f"nats_{level}"] = nats
        bits += nats / math.log(2) * codes.grids[level][0].numel()
    return figures | {"bpp": bits / pixels}
