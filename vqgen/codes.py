"""The codes of a batch of images: one named grid of integers per level, coarse to fine.

Legend: `b` batch, `h w` grid of a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codes:
    """The codes of `b` images.

    Indexing and iterating select images, not levels.

    Attributes:
        grids: Level name -> int64 `(b, h, w)`, coarse to fine. A level is also an attribute: `codes.top`.

    Raises:
        ValueError: There is no level, a grid is not `(b, h, w)`, or the grids differ in `b`.
    """

    grids: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not self.grids:
            raise ValueError("codes should have at least one level, found none")
        sizes = {grid.shape[0] for grid in self.grids.values()}
        if len(sizes) > 1 or any(grid.ndim != 3 for grid in self.grids.values()):
            shapes = {name: tuple(grid.shape) for name, grid in self.grids.items()}
            raise ValueError(f"grids should be (b, h, w) with one b, found {shapes}")

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of the levels, coarse to fine."""
        return tuple(self.grids)

    def __getattr__(self, name: str) -> Tensor:
        # `copy` and `pickle` ask for attributes before `grids` exists: looking it up here would never end.
        if not name.startswith("_") and name != "grids" and name in self.grids:
            return self.grids[name]
        raise AttributeError(f"codes have no level {name!r}")

    def __len__(self) -> int:
        return next(iter(self.grids.values())).shape[0]

    def __iter__(self) -> Iterator[Codes]:
        # Each image stays a batch of one, so that it goes wherever a batch goes.
        return (self[index : index + 1] for index in range(len(self)))

    def __getitem__(self, index: slice | Tensor) -> Codes:
        return Codes({name: grid[index] for name, grid in self.grids.items()})

    def to(self, device: torch.device | str) -> Codes:
        """Returns the codes on `device`."""
        return Codes({name: grid.to(device, non_blocking=True) for name, grid in self.grids.items()})

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches of codes that have the same levels and grids."""
        return Codes({name: torch.cat([part.grids[name] for part in parts]) for name in parts[0].levels})
