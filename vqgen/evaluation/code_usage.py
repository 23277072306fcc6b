"""The use of a codebook: the share of entries that occur, and the evenness of their frequencies.

Legend: `k` codebook entries.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class CodeUsage:
    """The usage and the perplexity of a codebook.

    Attributes:
        usage: Share of the entries that occur at all, in [0, 1].
        perplexity: exp of the entropy of the code histogram, in [1, codebook_size].
    """

    usage: float
    perplexity: float


def code_usage(histogram: Int[Tensor, " k"]) -> CodeUsage:
    """Computes usage and perplexity from a histogram of codes.

    Raises:
        ValueError: The histogram is empty.
    """
    total = int(histogram.sum())
    if total == 0:
        raise ValueError("histogram should count at least one code, found none")
    # float32 counts exactly up to 2^24 only, and a data set may have more codes.
    shares = histogram.double() / total
    usage = float((histogram > 0).double().mean())
    # `entr` is 0 for an unused entry, for which -p log p would be nan.
    perplexity = float(torch.special.entr(shares).sum().exp())
    return CodeUsage(usage, perplexity)
