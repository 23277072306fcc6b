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

_TILES_AT_A_TIME = 1 << 12


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
    def sources(self) -> NDArray[np.unsignedinteger]:
        """The place in the same tile whose code stands at each place, `(t, n)`, in the smallest unsigned type.

        It is the place itself inside the grid, and the nearest place inside the grid beyond the edge. A place is
        written if and only if it is its own source.
        """
        places = self.tile_height * self.tile_width
        dtype = np.min_scalar_type(places - 1)
        rows, columns = np.divmod(np.arange(places), self.tile_width)
        tops, lefts = np.divmod(np.arange(self.count), -(-self.width // self.tile_width))
        last_row = self.height - 1 - tops * self.tile_height
        last_column = self.width - 1 - lefts * self.tile_width
        sources = np.empty((self.count, places), dtype=dtype)
        # A part at a time: as int64 the table of a large grid would take as much memory as its codes.
        for begin in range(0, self.count, _TILES_AT_A_TIME):
            part = slice(begin, begin + _TILES_AT_A_TIME)
            nearest_rows = np.minimum(rows, last_row[part, None])
            sources[part] = nearest_rows * self.tile_width + np.minimum(columns, last_column[part, None])
        return sources

    def cut(self, grid: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cuts a grid into tiles, `(t, h, w)`, and fills the places beyond its edge."""
        padding = (0, -self.height % self.tile_height), (0, -self.width % self.tile_width)
        padded = np.pad(grid, padding, mode="edge") if any(after for _, after in padding) else grid
        # (tile row, row, tile column, column): both tile axes come to the front.
        parts = padded.reshape(-1, self.tile_height, padded.shape[1] // self.tile_width, self.tile_width)
        return parts.transpose(0, 2, 1, 3).reshape(self.count, self.tile_height, self.tile_width)

    def join(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Joins tiles `(t, h, w)` to the grid `(height, width)`."""
        columns = -(-self.width // self.tile_width)
        parts = tiles.reshape(-1, columns, self.tile_height, self.tile_width).transpose(0, 2, 1, 3)
        grid = parts.reshape(-1, columns * self.tile_width)
        return np.ascontiguousarray(grid[: self.height, : self.width])
