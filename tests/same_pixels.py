"""The comparison of pixels that two ways of computing have in common."""

import torch
from torch import Tensor

_MOST_ROUNDED = 1 / 500
"""Share of the pixels that may be rounded to the neighbouring value. On the processors that were tried none was.
Another one may round the positions of a batch otherwise than those of a single picture."""


def same_pixels(found: Tensor, expected: Tensor) -> bool:
    """Returns True if uint8 pixels are the same, but for a rare one that is rounded to the neighbouring value."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    off = (found.int() - expected.int()).abs()
    few = max(1.0, _MOST_ROUNDED * off.numel())
    return int(off.max()) <= 1 and torch.count_nonzero(off).item() <= few
