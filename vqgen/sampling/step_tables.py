"""Index tables of a causal order: where the positions of a step stand in a padded grid, and what their taps read.

Legend: `n` positions of the grid in order time, `b` images, `taps` open taps of a convolution. A *cell* is a place of
the grid padded by half a kernel on every side; a *row* is a cell of one image, `cell * b + image`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from vqgen.order import CausalOrder


@dataclass(frozen=True)
class StepTables:
    """Rows of all positions, in order time; those of a step are a slice.

    Attributes:
        num_positions: Positions of the grid, `n`.
        num_cells: Cells of the padded grid.
        write: `(n * b,)` int64, the row of each position of each image.
        strict: `(n * b * taps,)` int32, the rows that the first convolution reads.
        open: The same for later convolutions.
    """

    num_positions: int
    num_cells: int
    write: Int[Tensor, " n*b"]
    strict: Int[Tensor, " n*b*taps"]
    open: Int[Tensor, " n*b*taps"]

    def between(self, table: Tensor, begin: int, end: int) -> Tensor:
        """The part of one of the tables that belongs to positions `begin` to `end` in order time."""
        each = len(table) // self.num_positions
        return table[begin * each : end * each]

    @staticmethod
    def build(order: CausalOrder, kernel_size: int, batch_size: int, device: torch.device) -> "StepTables":
        """Builds the tables for `batch_size` images.

        Args:
            order: The order.
            kernel_size: Odd width of every masked convolution.
            batch_size: Images that are sampled together.
            device: Where the tables are used.
        """
        return StepTables(
            num_positions=order.num_positions,
            num_cells=padded_cells(order, kernel_size),
            write=_rows(_cells(order, kernel_size, ((0, 0),)), batch_size, device).long(),
            strict=_rows(_cells(order, kernel_size, open_taps(order, kernel_size, True)), batch_size, device),
            open=_rows(_cells(order, kernel_size, open_taps(order, kernel_size, False)), batch_size, device),
        )


def padded_cells(order: CausalOrder, kernel_size: int) -> int:
    """Cells of the grid with half a kernel of zeros on every side."""
    return (order.height + kernel_size - 1) * (order.width + kernel_size - 1)


@lru_cache(maxsize=64)
def open_taps(order: CausalOrder, kernel_size: int, strict: bool) -> tuple[tuple[int, int], ...]:
    """`(dr, dc)` of every open tap, in the order in which a `MaskedConv2d` keeps its weights."""
    half = kernel_size // 2
    return tuple((int(r) - half, int(c) - half) for r, c in np.argwhere(order.kernel_mask(kernel_size, strict=strict)))


@lru_cache(maxsize=64)
def _cells(order: CausalOrder, kernel_size: int, taps: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The cell that each tap of each position reads, `(n, taps)`."""
    half, width = kernel_size // 2, order.width + kernel_size - 1
    rows, columns = np.divmod(order.positions, order.width)
    offsets = np.array([dr * width + dc for dr, dc in taps])
    return ((rows + half) * width + columns + half)[:, None] + offsets


def _rows(cells: NDArray[np.int64], batch_size: int, device: torch.device) -> Tensor:
    """`(n * b * taps,)` int32: for each position, image and tap the row."""
    cells_here = torch.from_numpy(cells.astype(np.int32)).to(device)
    images = torch.arange(batch_size, dtype=torch.int32, device=device)
    return (cells_here[:, None] * batch_size + images[:, None]).flatten()
