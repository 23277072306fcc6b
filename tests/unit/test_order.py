import itertools

import numpy as np
import pytest

from vqgen.config import PriorSection, Recipe, VQVAESection, check_recipe
from vqgen.config.data import DataConfig
from vqgen.errors import ConfigError
from vqgen.order import CausalOrder

GRIDS = [(1, 1), (1, 5), (5, 1), (4, 4), (3, 6), (6, 3), (8, 8)]
SLOPES = [1, 2, 3, "raster"]


def naive_times(height, width, slope):
    slope = width if slope == "raster" else min(slope, width)
    return [[column + slope * row for column in range(width)] for row in range(height)]


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("slope", SLOPES)
def test_times_and_steps_follow_their_definition(height, width, slope):
    order = CausalOrder(height, width, slope)
    times = np.array(naive_times(height, width, slope))
    assert np.array_equal(order.times, times)
    assert order.num_positions == height * width
    steps = list(order.steps())
    occupied = sorted(set(times.ravel().tolist()))
    assert [times.ravel()[step].tolist() for step in steps if len(step)] == [
        [time] * int((times == time).sum()) for time in occupied
    ]
    assert sorted(np.concatenate(steps).tolist()) == list(range(height * width))


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("slope", SLOPES)
def test_every_step_has_a_position(height, width, slope):
    order = CausalOrder(height, width, slope)
    steps = list(order.steps())
    assert len(steps) == order.num_steps
    assert all(len(step) for step in steps)


def test_numbers_of_steps_are_those_of_the_documentation():
    assert CausalOrder(32, 32, 2).num_steps == 94
    assert CausalOrder(64, 64, 2).num_steps == 190
    assert CausalOrder(32, 32, "raster").num_steps == 1024
    assert CausalOrder(64, 64, "raster").num_steps == 4096
    assert [CausalOrder(16, 16, slope).num_steps for slope in ("raster", 2, 3, 1)] == [256, 46, 61, 31]


def test_slope_of_at_least_the_width_is_raster_order():
    raster = np.arange(12).reshape(3, 4)
    for slope in (4, 5, 100, "raster"):
        assert np.array_equal(CausalOrder(3, 4, slope).times, raster)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("strict", [True, False])
def test_kernel_mask_opens_exactly_the_earlier_taps(slope, strict):
    times = np.array(naive_times(9, 9, slope))
    lag = times[2:7, 2:7] - times[4, 4]  # a 5 x 5 window around the centre of a larger grid
    expected = lag < 0 if strict else lag <= 0
    assert np.array_equal(CausalOrder(9, 9, slope).kernel_mask(5, strict=strict), expected)


def test_attention_mask_is_a_prefix_in_order_time():
    order = CausalOrder(4, 5, 2)
    times = order.times.ravel()
    for query, key in itertools.product(range(20), repeat=2):
        assert order.attention_mask()[query, key] == (times[key] <= times[query])
    by_time = order.attention_mask()[np.ix_(order.positions, order.positions)]
    for step in range(order.num_steps):
        for row in range(order.offsets[step], order.offsets[step + 1]):
            assert by_time[row].tolist() == [column < order.offsets[step + 1] for column in range(20)]


def naive_blind_fraction(order, kernel_size, layers):
    """Walks from position to position through open taps."""
    height = order.height
    width = order.width
    times = order.times
    half = kernel_size // 2

    def read(position, strict):
        row, column = position
        mask = order.kernel_mask(kernel_size, strict=strict)
        return {
            (row + dr, column + dc)
            for dr, dc in itertools.product(range(-half, half + 1), repeat=2)
            if mask[dr + half, dc + half] and 0 <= row + dr < height and 0 <= column + dc < width
        }

    positions = list(itertools.product(range(height), range(width)))
    pairs = unseen = 0
    for position in positions:
        frontier = {position}
        for _ in range(layers):
            frontier = set().union(*(read(each, strict=False) for each in frontier))
        seen = set().union(*(read(each, strict=True) for each in frontier))
        earlier = {other for other in positions if times[other] < times[position]}
        pairs += len(earlier)
        unseen += len(earlier - seen)
    return unseen / max(1, pairs)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 6), (6, 3)])
@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("layers", [0, 2])
def test_blind_fraction_equals_a_walk_through_open_taps(height, width, slope, kernel_size, layers):
    order = CausalOrder(height, width, slope)
    expected = naive_blind_fraction(order, kernel_size, layers)
    assert order.blind_fraction(kernel_size, layers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("slope", "kernel_size", "percent"), [("raster", 5, 11), (3, 5, 9), (2, 3, 18), (2, 5, 0), (1, 5, 0)]
)
def test_blind_spots_at_16_x_16_are_those_of_the_documentation(slope, kernel_size, percent):
    assert round(100 * CausalOrder(16, 16, slope).blind_fraction(kernel_size, layers=40)) == percent


@pytest.mark.parametrize(("height", "width", "layers"), [(16, 16, 7), (8, 8, 3), (4, 4, 1), (12, 6, 5), (6, 12, 5)])
def test_slope_2_needs_as_many_layers_as_half_the_grid(height, width, layers):
    order = CausalOrder(height, width, 2)
    assert layers == -(-(max(height, width) - 2) // 2)
    assert order.blind_fraction(5, layers) == 0
    assert order.blind_fraction(5, layers - 1) > 0


def test_grid_of_64_x_64_needs_31_layers():
    order = CausalOrder(64, 64, 2)
    assert order.blind_fraction(5, 31) == 0
    assert order.blind_fraction(5, 30) > 0


# Kernels 5 wide on grids of even sides from 6 up; the closed form behind the warning is not exact elsewhere.
@pytest.mark.parametrize("side", [6, 8, 12, 16])
@pytest.mark.parametrize("slope", SLOPES)
def test_recipe_warnings_agree_with_blind_fraction(side, slope):
    for layers in range(1, side // 2 + 1):
        recipe = Recipe(
            name="test",
            data=DataConfig(source="digits", image_size=2 * side),
            vqvae=VQVAESection(downsample=(2,)),
            priors=(PriorSection(slope=slope, kernel_size=5, layers=layers),),
        )
        is_blind = CausalOrder(side, side, slope).blind_fraction(5, layers) > 0
        assert any("blind spot" in warning for warning in check_recipe(recipe)) == is_blind


@pytest.mark.usefixtures("unchecked_annotations")
def test_wrong_sides_slopes_and_kernels_are_refused():
    with pytest.raises(ValueError, match="height and width should be at least 1, found 0 x 3"):
        CausalOrder(0, 3)
    with pytest.raises(ValueError, match="height and width should be at least 1, found 3 x -1"):
        CausalOrder(3, -1)
    with pytest.raises(ValueError, match="slope should be at least 1 or 'raster', found 0"):
        CausalOrder(3, 3, 0)
    with pytest.raises(ValueError, match="slope should be at least 1 or 'raster', found 'diagonal'"):
        CausalOrder(3, 3, "diagonal")  # type: ignore[arg-type]
    for kernel_size in (4, 0, -1):
        with pytest.raises(ValueError, match=f"kernel_size should be odd and at least 1, found {kernel_size}"):
            CausalOrder(3, 3).kernel_mask(kernel_size, strict=True)


@pytest.mark.usefixtures("unchecked_annotations")
def test_sides_and_slopes_are_whole_numbers_of_any_library():
    assert CausalOrder(np.int64(3), np.uint8(4), np.int32(2)) == CausalOrder(3, 4, 2)
    assert type(CausalOrder(np.int64(3), 4).num_steps) is int
    for wrong in (3.0, "3", None, True, [3], object()):
        with pytest.raises(ConfigError, match="height: should be a whole number, found "):
            CausalOrder(wrong, 3)
        with pytest.raises(ConfigError, match="kernel_size: should be a whole number, found "):
            CausalOrder(3, 3).kernel_mask(wrong, strict=True)
        with pytest.raises(ConfigError, match="layers: should be a whole number of at least 0, found "):
            CausalOrder(3, 3).blind_fraction(3, wrong)
    for wrong in (2.0, None, True, [2], np.array([1, 2])):
        with pytest.raises(ConfigError, match="slope: should be a whole number, found "):
            CausalOrder(3, 3, wrong)
