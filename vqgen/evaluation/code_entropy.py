"""The variety of the codes of samples, to be compared with the variety of the codes of real images.

Legend: `n` images, `h w` grid.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.codes import Codes
from vqgen.evaluation.enough import check_count


def code_entropies(codes: Codes, labels: Int64[Tensor, " n"]) -> dict[str, float]:
    """Computes the variety of the codes of each level: the entropy of a code given its position and its label.

    The entropy is of the observed frequencies, averaged over positions and images. It is in nats, and at most the log
    of the number of images of a label. It is smaller for fewer images, so compare only sets with equally many images
    of each label. Samples that are less varied than real images have a lower entropy. The dependence of codes on each
    other has no influence on it.

    Args:
        codes: Codes of the images.
        labels: Labels of the images; one value for all images if they have none.

    Returns:
        `entropy_LEVEL` -> nats per code.

    Raises:
        DataError: There is no image.
    """
    check_count("entropy of codes", len(codes), 1)
    return {f"entropy_{level}": _entropy(grid, labels) for level, grid in codes.grids.items()}


def _entropy(codes: Int64[Tensor, "n h w"], labels: Int64[Tensor, " n"]) -> float:
    total = 0.0
    for label in labels.unique():
        places = codes[labels == label].flatten(1)
        size = int(places.max()) + 1
        # Codes of position i are shifted by i * size, so that one bincount counts the histograms of all positions.
        shifted = places + size * torch.arange(places.shape[1])
        histograms = shifted.flatten().bincount(minlength=size * places.shape[1]).view(-1, size)
        shares = histograms.double() / len(places)
        # A label counts as often as it has images: the result is a mean over images, not over labels.
        total += float(torch.special.entr(shares).sum(dim=1).mean()) * len(places)
    return total / len(codes)
