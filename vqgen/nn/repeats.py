"""Codebook entries that repeat an earlier entry.

Two equal entries are equally near to a latent, and rounding would choose between them. Another number of processes
rounds sums otherwise, and would then train another model. So no codebook may contain the same entry twice.

Legend: `m` entries, `d` embedding.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_NEAR = 1e-4
"""Distance below which two entries count as equal, relative to the mean norm of an entry: well above rounding."""

_APART = 1e-2
"""Distance by which a repeated entry is moved, relative to the mean norm of an entry: well above `_NEAR`."""


def find_repeats(entries: Float[Tensor, "m d"]) -> Bool[Tensor, " m"]:
    """Marks the entries that equal an earlier entry up to rounding."""
    # A comparison of all pairs would need m x m distances. Projected onto a line, equal entries become neighbours, so
    # comparing neighbours is enough. The square roots are in no simple ratio, so that entries on a regular grid do
    # not fall onto each other.
    line = torch.linspace(1, 2, entries.shape[1], dtype=entries.dtype, device=entries.device).sqrt()
    order = (entries @ line).argsort()
    ordered = entries[order]
    is_new = (ordered[1:] - ordered[:-1]).norm(dim=1) > _NEAR * entries.norm(dim=1).mean()
    # Each run of equal neighbours is a group. The smallest index of a group is its original.
    groups = torch.cat([is_new.new_zeros(1), is_new]).cumsum(dim=0)
    first = torch.full_like(order, len(order)).scatter_reduce(0, groups, order, "amin")
    return torch.zeros_like(order, dtype=torch.bool).scatter(0, order, order != first[groups])


def move_apart(entries: Float[Tensor, "m d"], draws: torch.Generator) -> Float[Tensor, "m d"]:
    """Moves each entry that repeats an earlier entry a little, by seeded noise."""
    # Noise for every entry, so that the draws do not depend on the number of repeats.
    noise = torch.randn(entries.shape, dtype=torch.float64, generator=draws).to(entries)
    scale = _APART * entries.norm(dim=1).mean() / entries.shape[1] ** 0.5
    return torch.where(find_repeats(entries)[:, None], entries + scale * noise, entries)
