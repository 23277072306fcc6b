"""Index tables of a causal order: the place of each position in a padded grid, and the places that its taps read.

A *cell* is a place of the grid padded by half a kernel on every side, so that no tap leaves it. A *row* is a cell of
one image: `cell * b + image`. A convolution at one step is then a gather of rows and a matrix product.

A *delay* is the number of steps by which a tap looks back. A *span* is a number of consecutive steps. A *far* tap has a
delay of at least a span: its rows are complete before the span begins, so they are read for the whole span together.
All other taps are *near* and are read at every step.

    raster    f f f f f        slope 2    n n n n n        f far tap, n near tap, . closed tap
              f f f f f                   n n n n n
              n n n . .                   n n n . .        On a wavefront the delays are too short for a span.
              . . . . .                   n . . . .
              . . . . .                   . . . . .

Legend: `n` positions of the grid in order time, `b` images, `taps` open taps of a convolution.
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

_LEAST_SPARED = 0.5
"""Share of the reads of weights that a span must spare. Below it, two products instead of one do not pay."""


@dataclass(frozen=True)
class TapTable:
    """The rows that a convolution reads: through near taps at every step, through far taps once for each span.

    Attributes:
        near: Indices of the near taps in the weights of the convolution.
        far: Indices of the far taps.
        near_rows: `(n * b * near taps,)` int32, the row for each position, image and near tap.
        far_rows: `(n * b * far taps,)` int32, the row for each position, image and far tap.
    """

    near: list[int]
    far: list[int]
    near_rows: Int[Tensor, " near_reads"]
    far_rows: Int[Tensor, " far_reads"]


@dataclass(frozen=True)
class StepTables:
    """The rows of all positions, in order time. The rows of a step are a slice.

    Attributes:
        batch_size: Images `b`.
        num_positions: Positions of the grid, `n`.
        num_cells: Cells of the padded grid.
        span: Steps for which far taps are read together.
        widest: The largest number of positions in a step.
        widest_span: The largest number of positions in a span.
        write: `(n * b,)` int64, the row of each position of each image.
        strict: The rows that the first convolution reads.
        open: The rows that later convolutions read.
    """

    batch_size: int
    num_positions: int
    num_cells: int
    span: int
    widest: int
    widest_span: int
    write: Int[Tensor, " writes"]
    strict: TapTable
    open: TapTable

    def between(self, rows: Tensor, begin: int, end: int) -> Tensor:
        """Returns the part of a table that belongs to positions `begin` to `end` in order time."""
        each = len(rows) // self.num_positions
        return rows[begin * each : end * each]

    @staticmethod
    def build(order: CausalOrder, kernel_size: int, batch_size: int, device: torch.device) -> "StepTables":
        """Builds the tables for `batch_size` images.

        Args:
            order: The order.
            kernel_size: Odd width of every masked convolution.
            batch_size: Images that are sampled together.
            device: The device on which the tables are used.
        """
        span = span_of(order, kernel_size)

        def rows_of(taps: Sequence[tuple[int, int]]) -> Tensor:
            return _rows(_cells(order, kernel_size, taps), batch_size, device)

        def tap_table(strict: bool) -> TapTable:
            taps = open_taps(order, kernel_size, strict)
            near, far = split_taps(order, kernel_size, strict, span)
            return TapTable(near, far, *(rows_of([taps[place] for place in part]) for part in (near, far)))

        return StepTables(
            batch_size=batch_size,
            num_positions=order.num_positions,
            num_cells=padded_cells(order, kernel_size),
            span=span,
            widest=widest(order, 1),
            widest_span=widest(order, span),
            # The tap (0, 0) reads the position itself. In int64, which `index_copy_` requires.
            write=rows_of([(0, 0)]).long(),
            strict=tap_table(True),
            open=tap_table(False),
        )


def widest(order: CausalOrder, span: int) -> int:
    """Returns the largest number of positions in a span of the order. The first span begins at the first step."""
    bounds = np.append(order.offsets[:-1:span], order.num_positions)
    return int(np.diff(bounds).max())


def padded_cells(order: CausalOrder, kernel_size: int) -> int:
    """Counts the cells of the grid with half a kernel of zeros on every side."""
    return (order.height + kernel_size - 1) * (order.width + kernel_size - 1)


@lru_cache(maxsize=64)
def open_taps(order: CausalOrder, kernel_size: int, strict: bool) -> tuple[tuple[int, int], ...]:
    """Returns `(dr, dc)` of every open tap, in the order of the weights of a `MaskedConv2d`."""
    half = kernel_size // 2
    return tuple((int(r) - half, int(c) - half) for r, c in np.argwhere(order.kernel_mask(kernel_size, strict=strict)))


@lru_cache(maxsize=64)
def span_of(order: CausalOrder, kernel_size: int) -> int:
    """Chooses the number of steps for which far taps are read together, or 1 if that does not pay.

    A tap with a delay of `d` steps can be read for `d` steps together. Its weights are then read from memory once for
    all of them, and reading weights is most of the time of a small step. In raster order, all rows above have long
    delays: most of the kernel.
    """
    delays = np.array(_delays(order, kernel_size, strict=False))
    spans = np.arange(1, delays.max() + 1)
    # A longer span spares more reads of each far tap, but fewer taps are far.
    spared = [(1 - 1 / span) * (delays >= span).mean() for span in spans]
    return int(spans[np.argmax(spared)]) if len(spans) and max(spared) >= _LEAST_SPARED else 1


def split_taps(order: CausalOrder, kernel_size: int, strict: bool, span: int) -> tuple[list[int], list[int]]:
    """Returns the indices in `open_taps` of the near taps and of the far taps."""
    delays = _delays(order, kernel_size, strict)
    far = [place for place, delay in enumerate(delays) if span > 1 and delay >= span]
    return [place for place in range(len(delays)) if place not in far], far


def _delays(order: CausalOrder, kernel_size: int, strict: bool) -> list[int]:
    """Returns the delay of each open tap. It is the same at every position, because times are linear."""
    return [-(dc + order.effective_slope * dr) for dr, dc in open_taps(order, kernel_size, strict)]


def _cells(order: CausalOrder, kernel_size: int, taps: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Returns the cell that each tap of each position reads, `(n, taps)`."""
    half = kernel_size // 2
    width = order.width + kernel_size - 1
    rows, columns = np.divmod(order.positions, order.width)
    offsets = np.array([dr * width + dc for dr, dc in taps], dtype=np.int64)
    return ((rows + half) * width + columns + half)[:, None] + offsets


def _rows(cells: NDArray[np.int64], batch_size: int, device: torch.device) -> Tensor:
    """Returns the row for each position, image and tap, `(n * b * taps,)` int32."""
    # Images next to each other, in the order of the features of a step: position, then image.
    cells_here = torch.from_numpy(cells.astype(np.int32)).to(device)
    images = torch.arange(batch_size, dtype=torch.int32, device=device)
    return (cells_here[:, None] * batch_size + images[:, None]).flatten()
