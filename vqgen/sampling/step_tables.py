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
class TapTable:
    """The rows that a convolution reads: through *near* taps with every step, through *far* taps for a span at once.

    Attributes:
        near: Places of the near taps among the weights of the convolution.
        far: Those of the far taps.
        near_rows: `(n * b * near taps,)` int32, for each position, image and near tap the row.
        far_rows: The same for far taps.
    """

    near: list[int]
    far: list[int]
    near_rows: Int[Tensor, " n*b*near"]
    far_rows: Int[Tensor, " n*b*far"]


@dataclass(frozen=True)
class StepTables:
    """Rows of all positions, in order time; those of a step are a slice.

    Attributes:
        batch_size: Images `b`.
        num_positions: Positions of the grid, `n`, and a spare one where there is.
        num_cells: Cells of the padded grid, and a spare one where there is.
        span: Steps for which far taps are read at once.
        widest: Most positions of a step.
        widest_span: Most positions of a span.
        write: `(n * b,)` int64, the row of each position of each image.
        strict: What the first convolution reads.
        open: What later convolutions read.
    """

    batch_size: int
    num_positions: int
    num_cells: int
    span: int
    widest: int
    widest_span: int
    write: Int[Tensor, " n*b"]
    strict: TapTable
    open: TapTable

    def between(self, rows: Tensor, begin: int, end: int) -> Tensor:
        """The part of rows for all positions that belongs to `begin` to `end` in order time."""
        each = len(rows) // self.num_positions
        return rows[begin * each : end * each]

    @staticmethod
    def build(
        order: CausalOrder, kernel_size: int, batch_size: int, device: torch.device, *, padded: bool = False
    ) -> "StepTables":
        """Builds the tables for `batch_size` images.

        Args:
            order: The order.
            kernel_size: Odd width of every masked convolution.
            batch_size: Images that are sampled together.
            device: Where the tables are used.
            padded: For steps that are all as wide as the widest: there is a spare position after all others, in a spare
                cell that it alone writes and reads, and no tap is far.
        """
        span = 1 if padded else span_of(order, kernel_size)
        num_cells = padded_cells(order, kernel_size)
        spare = int(padded)

        def rows_of(taps: Sequence[tuple[int, int]]) -> Tensor:
            cells = _cells(order, kernel_size, taps)
            cells = np.concatenate([cells, np.full((spare, len(taps)), num_cells)])
            return _rows(cells, batch_size, device)

        def tap_table(strict: bool) -> TapTable:
            taps = open_taps(order, kernel_size, strict)
            near, far = split_taps(order, kernel_size, strict, span)
            return TapTable(near, far, *(rows_of([taps[place] for place in part]) for part in (near, far)))

        return StepTables(
            batch_size=batch_size,
            num_positions=order.num_positions + spare,
            num_cells=num_cells + spare,
            span=span,
            widest=widest(order, 1),
            widest_span=widest(order, span),
            write=rows_of([(0, 0)]).long(),
            strict=tap_table(True),
            open=tap_table(False),
        )


def widest(order: CausalOrder, span: int) -> int:
    """The most positions of `span` steps that follow each other, counted from the first step."""
    bounds = np.append(order.offsets[:-1:span], order.num_positions)
    return int(np.diff(bounds).max())


def padded_cells(order: CausalOrder, kernel_size: int) -> int:
    """Cells of the grid with half a kernel of zeros on every side."""
    return (order.height + kernel_size - 1) * (order.width + kernel_size - 1)


@lru_cache(maxsize=64)
def open_taps(order: CausalOrder, kernel_size: int, strict: bool) -> tuple[tuple[int, int], ...]:
    """`(dr, dc)` of every open tap, in the order in which a `MaskedConv2d` keeps its weights."""
    half = kernel_size // 2
    return tuple((int(r) - half, int(c) - half) for r, c in np.argwhere(order.kernel_mask(kernel_size, strict=strict)))


@lru_cache(maxsize=64)
def span_of(order: CausalOrder, kernel_size: int) -> int:
    """The steps for which far taps are read at once; 1 where it does not pay.

    A tap that reads what is `delay` steps old can be read for `delay` steps at once: its weights are then fetched once
    for all of them. In raster order these are all rows above, most of the kernel.
    """
    delays = np.array(_delays(order, kernel_size, strict=False))
    spans = np.arange(1, delays.max() + 1)
    spared = [(1 - 1 / span) * (delays >= span).mean() for span in spans]
    return int(spans[np.argmax(spared)]) if len(spans) and max(spared) >= 0.5 else 1


def split_taps(order: CausalOrder, kernel_size: int, strict: bool, span: int) -> tuple[list[int], list[int]]:
    """Places of near and of far taps in `open_taps`: far ones read what is at least a span old."""
    delays = _delays(order, kernel_size, strict)
    far = [place for place, delay in enumerate(delays) if span > 1 and delay >= span]
    return [place for place in range(len(delays)) if place not in far], far


def _delays(order: CausalOrder, kernel_size: int, strict: bool) -> list[int]:
    """By how many steps each open tap reads what is older."""
    return [-(dc + order.effective_slope * dr) for dr, dc in open_taps(order, kernel_size, strict)]


def _cells(order: CausalOrder, kernel_size: int, taps: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The cell that each tap of each position reads, `(n, taps)`."""
    half, width = kernel_size // 2, order.width + kernel_size - 1
    rows, columns = np.divmod(order.positions, order.width)
    offsets = np.array([dr * width + dc for dr, dc in taps], dtype=np.int64)
    return ((rows + half) * width + columns + half)[:, None] + offsets


def _rows(cells: NDArray[np.int64], batch_size: int, device: torch.device) -> Tensor:
    """`(n * b * taps,)` int32: for each position, image and tap the row."""
    cells_here = torch.from_numpy(cells.astype(np.int32)).to(device)
    images = torch.arange(batch_size, dtype=torch.int32, device=device)
    return (cells_here[:, None] * batch_size + images[:, None]).flatten()
