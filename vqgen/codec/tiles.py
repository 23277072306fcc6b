"""Grids of any size, cut into tiles of the prior's size.

The places of a tile beyond the grid's edge are filled with the nearest code inside the grid. The prior sees these
places, but they are never written. The nearest code comes before them in every causal order, so a decoder has it in
time.

Legend: `t` tiles, `h w` tile, `n` positions of a tile in row-major order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """The cutting of a grid into tiles, row by row.

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
        """Builds the tiling of a grid."""
        height, width = grid.shape
        return Tiling(height, width, tile_height, tile_width)

    @property
    def count(self) -> int:
        """The number of tiles, `t`."""
        return -(-self.height // self.tile_height) * -(-self.width // self.tile_width)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The row-major index in the grid of the code at each place of each tile, `(t, n)`."""
        tops = np.arange(0, self.height, self.tile_height)
        lefts = np.arange(0, self.width, self.tile_width)
        # Clamping to the last row and column selects the nearest code of the grid.
        rows = np.minimum(tops[:, None] + np.arange(self.tile_height), self.height - 1)
        columns = np.minimum(lefts[:, None] + np.arange(self.tile_width), self.width - 1)
        # (tile row, row, tile column, column), of which broadcasting brings both tile axes to the front.
        flat = rows[:, None, :, None] * self.width + columns[None, :, None, :]
        return flat.reshape(self.count, self.tile_height * self.tile_width)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """The place in the same tile whose code stands at each place, `(t, n)`.

        It is the place itself inside the grid, and the nearest place inside the grid beyond the edge. A place is
        written if and only if it is its own source.
        """
        rows, columns = np.divmod(np.arange(self.tile_height * self.tile_width), self.tile_width)
        tops, lefts = np.divmod(np.arange(self.count), -(-self.width // self.tile_width))
        last_row = self.height - 1 - tops * self.tile_height
        last_column = self.width - 1 - lefts * self.tile_width
        return (
            np.minimum(rows, last_row[:, None]) * self.tile_width + np.minimum(columns, last_column[:, None])
        )  # fmt: skip

    def cut(self, grid: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cuts a grid into tiles, `(t, h, w)`, and fills the places beyond its edge."""
        return grid.reshape(-1)[self.positions].reshape(self.count, self.tile_height, self.tile_width)

    def join(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Joins tiles `(t, h, w)` to the grid `(height, width)`."""
        grid = np.empty(self.height * self.width, dtype=np.int64)
        # Places beyond the edge write the same index as the place inside that they repeat, and with the same code.
        grid[self.positions] = tiles.reshape(self.count, -1)
        return grid.reshape(self.height, self.width)
