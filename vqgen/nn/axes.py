"""The order of the axes of features in a prior: each layer that mixes positions has to know it.

Legend: `b` batch, `c` channels, `h w` grid.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Axes = Literal["b h w c", "h w b c"]
"""Axes of features. All layers that act on each position alone work with both."""

BATCH_FIRST: Axes = "b h w c"
"""Channels-last, the layout of the convolutions of an accelerator."""

POSITIONS_FIRST: Axes = "h w b c"
"""The layout of the tap products of a CPU: rows of the grid lie side by side in memory, for all images."""


def at_every_position(features: Float[Tensor, "b c"], axes: Axes) -> Float[Tensor, "..."]:
    """Gives features of whole images the axes of features of a grid, so that they are added at every position."""
    return features[:, None, None] if axes == BATCH_FIRST else features


def axes_on(device: torch.device) -> Axes:
    """Returns the faster layout on a device."""
    return POSITIONS_FIRST if device.type == "cpu" else BATCH_FIRST
