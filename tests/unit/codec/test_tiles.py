import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.tiles import Tiling
from vqgen.order import CausalOrder

sizes = st.integers(1, 12)


@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5))
def test_cut_and_joined_tiles_are_the_grid(height, width, tile_height, tile_width):
    grid = np.arange(height * width).reshape(height, width)
    tiling = Tiling.of(grid, tile_height, tile_width)
    assert tiling.cut(grid).shape == (tiling.count, tile_height, tile_width)
    assert (tiling.join(tiling.cut(grid)) == grid).all()


@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5))
def test_every_code_is_its_own_source_once_and_fills_the_places_beyond_the_edge(height, width, tile_height, tile_width):
    grid = np.arange(height * width).reshape(height, width)
    tiling = Tiling.of(grid, tile_height, tile_width)
    tiles = tiling.cut(grid).reshape(tiling.count, -1)
    inside = tiling.sources == np.arange(tile_height * tile_width)
    assert sorted(tiles[inside].tolist()) == grid.ravel().tolist()
    assert (np.take_along_axis(tiles, tiling.sources, 1) == tiles).all()


@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5))
def test_tiles_are_those_of_a_loop(height, width, tile_height, tile_width):
    grid = np.arange(height * width).reshape(height, width)
    tiling = Tiling.of(grid, tile_height, tile_width)
    expected = [
        [
            [grid[min(top + row, height - 1), min(left + column, width - 1)] for column in range(tile_width)]
            for row in range(tile_height)
        ]
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    ]
    assert (tiling.cut(grid) == expected).all()


def test_sources_take_a_byte_each_and_are_made_in_parts(monkeypatch):
    tiling = Tiling(37, 50, 4, 5)
    whole = tiling.sources
    assert whole.dtype == np.uint8
    monkeypatch.setattr("vqgen.codec.tiles._TILES_AT_A_TIME", 7)
    assert (Tiling(37, 50, 4, 5).sources == whole).all()


@pytest.mark.parametrize("slope", [1, 2, 3, "raster"])
def test_source_of_a_filled_place_comes_before_it_in_every_order(slope):
    for height, width in [(1, 1), (3, 2), (5, 7)]:
        tiling = Tiling(height, width, 4, 5)
        times = CausalOrder(4, 5, slope).times.ravel()
        filled = tiling.sources != np.arange(20)
        assert (times[tiling.sources] < times[None])[filled].all()
