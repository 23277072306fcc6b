"""The codes of a batch of images: one named grid of integers per level, coarse to fine.

Legend: `b` batch, `h w` grid of a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqgen.arguments import as_instance, as_items, found_text
from vqgen.errors import ConfigError, DataError


@dataclass(frozen=True)
class Codes:
    """The codes of `b` images.

    Indexing and iterating select images, not levels.

    Attributes:
        grids: Level name -> int64 `(b, h, w)`, coarse to fine. A level is also an attribute: `codes.top`.

    Raises:
        DataError: The grids are no map from names to tensors.
        ValueError: There is no level, a grid is not `(b, h, w)`, or the grids differ in `b`.
    """

    grids: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        as_instance("grids", self.grids, Mapping, "a map from names of levels to tensors", DataError)
        for level, grid in self.grids.items():
            if not isinstance(level, str):
                raise DataError(f"grids: names of levels should be strings, found {found_text(level)}")
            as_instance(f"grids: {level}", grid, Tensor, "a tensor (b, h, w)", DataError)
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

    def __repr__(self) -> str:
        """Returns the number of images and the grid of each level. The codes would fill the screen."""
        grids = ", ".join(f"{level} {grid.shape[1]} x {grid.shape[2]}" for level, grid in self.grids.items())
        # `counted` is of the same floor, whose rooms do not know each other.
        return f"Codes({len(self)} image{'' if len(self) == 1 else 's'}: {grids})"

    def __len__(self) -> int:
        return next(iter(self.grids.values())).shape[0]

    def __iter__(self) -> Iterator[Codes]:
        # Each image stays a batch of one, so that it goes wherever a batch goes.
        return (self[index : index + 1] for index in range(len(self)))

    def __getitem__(self, index: slice | Tensor) -> Codes:
        if not isinstance(index, slice | Tensor) or (isinstance(index, Tensor) and index.is_floating_point()):
            raise DataError(f"codes: an index should be a slice or a tensor of images, found {found_text(index)}")
        return Codes({name: grid[index] for name, grid in self.grids.items()})

    def to(self, device: torch.device | str) -> Codes:
        """Returns the codes on `device`.

        Raises:
            ConfigError: The value names no device.
        """
        wanted = "the name of a device, or a device of torch"
        if not isinstance(device, str | torch.device):
            raise ConfigError(f"device: should be {wanted}, found {found_text(device)}")
        try:
            device = torch.device(device)
        except RuntimeError as error:
            raise ConfigError(f"device: should be {wanted}, found {found_text(device)}") from error
        return Codes({name: grid.to(device, non_blocking=True) for name, grid in self.grids.items()})

    @staticmethod
    def cat(parts: Sequence[Codes]) -> Codes:
        """Joins batches of codes that have the same levels and grids.

        Raises:
            DataError: There is no batch, or their levels differ.
        """
        parts = [as_instance("parts", part, Codes, error=DataError) for part in as_items("parts", parts, "some Codes")]
        if len({part.levels for part in parts}) != 1:
            found = ", ".join("/".join(part.levels) for part in parts) or "none"
            raise DataError(f"parts: should be at least one batch, all with the same levels, found {found}")
        return Codes({name: torch.cat([part.grids[name] for part in parts]) for name in parts[0].levels})


Grid = TypeVar("Grid", Tensor, NDArray[np.int64])


@runtime_checkable  # so that annotations can be checked in tests
class Conditioned(Protocol):
    """The configuration of a prior, as far as it says which codes condition the prior."""

    @property
    def level(self) -> str:
        """The level whose codes the prior models."""
        ...

    @property
    def codebook_size(self) -> int:
        """Entries K of the codebook."""
        ...

    @property
    def conditioning_grids(self) -> int:
        """Grids of codes, of one size, that condition the prior: the last ones before its own."""
        ...


def conditioning_levels(prior: Conditioned, levels: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the grids that condition a prior; none for the coarsest.

    Args:
        prior: The configuration of the prior.
        levels: Names of grids, coarse to fine, with all those before the prior's own.
    """
    before = levels[: levels.index(prior.level)] if prior.level in levels else levels
    return tuple(before[-prior.conditioning_grids :])


def conditioning_codes(prior: Conditioned, grids: Mapping[str, Grid]) -> Grid | None:
    """Joins the codes that condition a prior into one grid; see `join_codes`.

    Args:
        prior: The configuration of the prior.
        grids: Level name -> codes in [0, K), coarse to fine, with all levels before the prior's own.

    Returns:
        None for the coarsest level.
    """
    taken = [grids[level] for level in conditioning_levels(prior, tuple(grids))]
    return join_codes(taken, prior.codebook_size) if taken else None


def join_codes(grids: Sequence[Grid], codebook_size: int) -> Grid:
    """Joins grids of one size into one: `c1 + K c2 + K^2 c3` is the number of the codes of a place.

    One grid stays as it is. So all that passes on the codes that condition a prior need not know how many they are.

    Args:
        grids: At least one grid of codes in [0, K).
        codebook_size: K.
    """
    joined = grids[-1]
    for grid in reversed(grids[:-1]):
        joined = joined * codebook_size + grid
    return joined


def separate_codes(joined: Tensor, count: int, codebook_size: int) -> list[Tensor]:
    """Returns the `count` grids that `join_codes` has joined."""
    if count == 1:
        return [joined]  # a code out of range stays one, for the embedding to refuse
    return [joined // codebook_size**place % codebook_size for place in range(count)]
