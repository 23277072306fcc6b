"""Grids of any size cut into tiles of the prior's size.

What of a tile lies beyond the grid's edge is filled with the nearest code that does not; it is predicted from, but
never written. That code stands before it in every causal order, so a decoder has it in time.

Legend: `t` tiles, `h w` tile, `n` positions of a tile in row-major order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """How a grid is cut into tiles, row by row.

    Attributes:
        height: Rows of the grid.
        width: Columns of the grid.
        tile_height: Rows of a tile, `h`.
        tile_width: Columns of a tile, `w`.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int

    @staticmethod
    def of(grid: NDArray[np.int64], tile_height: int, tile_width: int) -> "Tiling":
        """How this grid is cut."""
        height, width = grid.shape
        return Tiling(height, width, tile_height, tile_width)

    @property
    def count(self) -> int:
        """Tiles, `t`."""
        return -(-self.height // self.tile_height) * -(-self.width // self.tile_width)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Row-major index in the grid of the code that stands at each place of each tile, `(t, n)`."""
        tops = np.arange(0, self.height, self.tile_height)
        lefts = np.arange(0, self.width, self.tile_width)
        rows = np.minimum(tops[:, None] + np.arange(self.tile_height), self.height - 1)
        columns = np.minimum(lefts[:, None] + np.arange(self.tile_width), self.width - 1)
        flat = rows[:, None, :, None] * self.width + columns[None, :, None, :]
        return flat.reshape(self.count, self.tile_height * self.tile_width)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Place in its own tile of the code that stands at each place, `(t, n)`: itself, or the nearest in the grid."""
        rows, columns = np.divmod(np.arange(self.tile_height * self.tile_width), self.tile_width)
        tops, lefts = np.divmod(np.arange(self.count), -(-self.width // self.tile_width))
        last_row = self.height - 1 - tops * self.tile_height
        last_column = self.width - 1 - lefts * self.tile_width
        return (
            np.minimum(rows, last_row[:, None]) * self.tile_width + np.minimum(columns, last_column[:, None])
        )  # fmt: skip

    def cut(self, grid: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cuts a grid into tiles, `(t, h, w)`, filled beyond the edge."""
        return grid.reshape(-1)[self.positions].reshape(self.count, self.tile_height, self.tile_width)

    def join(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Puts tiles `(t, h, w)` together again."""
        grid = np.empty(self.height * self.width, dtype=np.int64)
        grid[self.positions] = tiles.reshape(self.count, -1)
        return grid.reshape(self.height, self.width)
