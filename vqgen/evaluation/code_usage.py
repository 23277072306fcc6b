"""The use of a codebook: how many entries occur, and how evenly.

Legend: `k` codebook entries.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class CodeUsage:
    """How a codebook is used.

    Attributes:
        usage: Share of the entries that occur at all, in [0, 1].
        perplexity: exp of the entropy of the code histogram, in [1, codebook_size].
    """

    usage: float
    perplexity: float


def code_usage(histogram: Int[Tensor, " k"]) -> CodeUsage:
    """Usage and perplexity of a histogram of codes.

    Raises:
        ValueError: The histogram is empty.
    """
    total = int(histogram.sum())
    if total == 0:
        raise ValueError("histogram should count at least one code, found none")
    shares = histogram.double() / total
    return CodeUsage(
        usage=float((histogram > 0).double().mean()), perplexity=float(torch.special.entr(shares).sum().exp())
    )
