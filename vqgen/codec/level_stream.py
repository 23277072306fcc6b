"""The codes of one level that are written to one segment: what the coders of priors take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import BitstreamError


@dataclass
class LevelStream:
    """The grids of a level that are written to one segment.

    Attributes:
        grids: int64 `(h, w)`, one for each image; the decoder fills them in.
        coarser: The codes that condition the prior, a grid for each image; None for the coarsest level.
        labels: A label for each image, -1 without one.
        failure: The reason why it could not be decoded; None if there is none.
    """

    grids: Sequence[NDArray[np.int64]]
    coarser: Sequence[NDArray[np.int64]] | None
    labels: Sequence[int]
    failure: BitstreamError | None = None
