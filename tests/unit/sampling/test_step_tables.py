"""Tables of rows against a loop over positions, images and taps."""

from itertools import pairwise

import pytest
import torch

from vqgen.order import CausalOrder
from vqgen.sampling.step_tables import StepTables, open_taps, padded_cells, span_of, split_taps, widest

SLOPES = [1, 2, 3, 5, "raster"]
CPU = torch.device("cpu")


def naive_rows(order, kernel_size, b, taps):
    """Lists the row that each tap of each image of each position reads, one after the other."""
    half = kernel_size // 2
    width = order.width + kernel_size - 1
    rows = []
    for position in order.positions.tolist():
        row, column = divmod(position, order.width)
        for image in range(b):
            rows += [((row + half + dr) * width + column + half + dc) * b + image for dr, dc in taps]
    return rows


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("slope", SLOPES)
def test_rows_equal_a_loop_over_positions_images_and_taps(slope, kernel_size):
    order = CausalOrder(4, 6, slope)
    b = 3
    tables = StepTables.build(order, kernel_size, b, CPU)
    assert tables.write.tolist() == naive_rows(order, kernel_size, b, [(0, 0)])
    for strict, table in ((True, tables.strict), (False, tables.open)):
        taps = open_taps(order, kernel_size, strict)
        assert table.near_rows.tolist() == naive_rows(order, kernel_size, b, [taps[place] for place in table.near])
        assert table.far_rows.tolist() == naive_rows(order, kernel_size, b, [taps[place] for place in table.far])
    assert tables.num_positions == order.num_positions
    assert tables.num_cells == padded_cells(order, kernel_size) == (4 + kernel_size - 1) * (6 + kernel_size - 1)
    assert max(tables.strict.near_rows.max(), tables.open.near_rows.max()) < tables.num_cells * b


@pytest.mark.parametrize("slope", SLOPES)
def test_rows_of_the_steps_are_slices_that_fill_the_table(slope):
    order = CausalOrder(4, 6, slope)
    tables = StepTables.build(order, 3, 2, CPU)
    bounds = order.offsets.tolist()
    parts = [tables.between(tables.open.near_rows, *pair) for pair in pairwise(bounds)]
    assert torch.equal(torch.cat(parts), tables.open.near_rows)
    assert max(len(part) for part in parts) == tables.widest * 2 * len(tables.open.near)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("slope", SLOPES)
def test_far_taps_look_back_a_span_and_near_taps_less(slope, kernel_size):
    order = CausalOrder(9, 10, slope)
    span = span_of(order, kernel_size)
    assert order.effective_slope < 10 or span > 1
    for strict in (True, False):
        taps = open_taps(order, kernel_size, strict)
        (near, far) = split_taps(order, kernel_size, strict, span)
        assert sorted(near + far) == list(range(len(taps)))
        delays = [-(dc + order.effective_slope * dr) for dr, dc in taps]
        assert far == ([place for place, delay in enumerate(delays) if delay >= span] if span > 1 else [])


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_wavefront_has_no_span(kernel_size):
    assert span_of(CausalOrder(16, 16, 2), kernel_size) == 1


@pytest.mark.parametrize("span", [1, 2, 5])
@pytest.mark.parametrize("slope", SLOPES)
def test_widest_span_equals_a_loop(slope, span):
    order = CausalOrder(5, 7, slope)
    sizes = [len(step) for step in order.steps()]
    assert widest(order, span) == max(sum(sizes[begin : begin + span]) for begin in range(0, len(sizes), span))
