"""How varied are the codes of samples, beside those of real images?

Legend: `n` images, `h w` grid.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.codes import Codes
from vqgen.evaluation.distribution import check_count


def code_entropies(codes: Codes, labels: Int64[Tensor, " n"]) -> dict[str, float]:
    """Computes how varied the codes of each level are: the entropy of a code whose position and label are known.

    Of the frequencies, averaged over positions and images; in nats, at most the log of the number of images of a label.
    The fewer images, the smaller it is, so only metrics of equally many images of each label can be compared. Samples
    that are less varied than real images have less of it; how codes depend on each other changes nothing.

    Args:
        codes: Codes of the images.
        labels: Their labels, one value for all where there are none.

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
        shifted = places + size * torch.arange(places.shape[1])  # a histogram for each position
        histograms = shifted.flatten().bincount(minlength=size * places.shape[1]).view(-1, size)
        shares = histograms.double() / len(places)
        total += float(torch.special.entr(shares).sum(dim=1).mean()) * len(places)
    return total / len(codes)
