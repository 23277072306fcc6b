import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.tiles import Tiling
from vqgen.order import CausalOrder

sizes = st.integers(1, 12)


@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5))
def test_cut_and_joined_is_the_grid(height, width, tile_height, tile_width):
    grid = np.arange(height * width).reshape(height, width)
    tiling = Tiling.of(grid, tile_height, tile_width)
    assert tiling.cut(grid).shape == (tiling.count, tile_height, tile_width)
    assert (tiling.join(tiling.cut(grid)) == grid).all()
    tiles = tiling.cut(grid).reshape(tiling.count, -1)
    inside = tiling.sources == np.arange(tile_height * tile_width)
    assert sorted(tiles[inside].tolist()) == grid.ravel().tolist()  # each code once
    assert (
        np.take_along_axis(tiles.reshape(tiling.count, -1), tiling.sources, 1) == tiles.reshape(tiling.count, -1)
    ).all()


@pytest.mark.parametrize("slope", [1, 2, 3, "raster"])
def test_what_fills_a_tile_is_known_before_it_is_needed(slope):
    for height, width in [(1, 1), (3, 2), (5, 7)]:
        tiling, times = Tiling(height, width, 4, 5), CausalOrder(4, 5, slope).times.ravel()
        filled = tiling.sources != np.arange(20)
        assert (times[tiling.sources] < times[None])[filled].all()
