import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.image_codes import ImageCodes, ImageShape, check_whole, read_alpha, write_alpha, wrong_codes
from vqgen.errors import BitstreamError, DataError


def make():
    rng = np.random.default_rng(0)
    grids = {"top": rng.integers(0, 300, (1, 2)), "bottom": rng.integers(0, 300, (2, 4))}
    return ImageCodes(ImageShape(7, 3, True, 2, has_alpha=True), grids, b"a" * 21)


@given(st.integers(1, 100), st.integers(1, 100), st.sampled_from([(4,), (4, 2), (8, 4, 1)]))
def test_grids_cover_the_image_with_less_than_a_stride_to_spare(width, height, downsample):
    for factor, (rows, columns) in zip(
        downsample, ImageShape(width, height, False).grid_sizes(downsample), strict=True
    ):
        assert 0 <= rows * factor - height < downsample[0]
        assert 0 <= columns * factor - width < downsample[0]
        assert rows * factor % downsample[0] == columns * factor % downsample[0] == 0


def test_crc_covers_codes_and_alpha_after_a_start():
    codes = make()
    data = b"".join(grid.astype("<u2").tobytes() for grid in codes.grids.values()) + codes.alpha
    assert codes.crc() == zlib.crc32(data)
    assert codes.crc(zlib.crc32(b"before")) == zlib.crc32(b"before" + data)


def test_codes_are_equal_only_if_everything_is():
    codes = make()
    assert codes.equals(make())
    assert not codes.equals(replace(codes, alpha=None))
    assert not codes.equals(replace(codes, shape=replace(codes.shape, label=None)))
    assert not codes.equals(replace(codes, grids={**codes.grids, "top": codes.grids["top"] + 1}))
    assert not codes.equals(replace(codes, grids={"top": codes.grids["top"]}))


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_alpha_plane_comes_back(width, height, data):
    plane = data.draw(st.binary(min_size=width * height, max_size=width * height))
    assert read_alpha(write_alpha(plane, width), width, height) == plane


def test_alpha_plane_of_equal_rows_takes_few_bytes():
    row = np.random.default_rng(0).bytes(200)
    assert len(write_alpha(row * 100, 200)) < 300


@pytest.mark.parametrize("size", [(7, 2), (7, 4)])
def test_alpha_plane_of_another_size_is_refused(size):
    with pytest.raises(BitstreamError, match=f"should have {size[0]} x {size[1]} bytes, found another number"):
        read_alpha(write_alpha(bytes(21), 7), *size)


def test_damaged_alpha_plane_is_refused():
    segment = write_alpha(bytes(21), 7)
    with pytest.raises(BitstreamError, match="alpha plane is damaged"):
        read_alpha(b"junk", 7, 3)
    for damaged in (segment[:-1], segment + b"x"):
        with pytest.raises(BitstreamError, match="found another number"):
            read_alpha(damaged, 7, 3)


def test_error_for_wrong_codes_names_their_owner():
    with pytest.raises(BitstreamError, match="codes of a block differ from the written ones"):
        raise wrong_codes("a block")


def test_preview_is_not_whole():
    codes = make()
    assert codes.levels == ("top", "bottom")
    assert check_whole(codes, ("top", "bottom")) is codes
    lacking = {"top": replace(codes, grids={"top": codes.grids["top"]}), "none": replace(codes, grids={})}
    for found, part in (lacking | {"without its alpha plane": replace(codes, alpha=None)}).items():
        with pytest.raises(DataError, match=rf"levels top, bottom to be written, found {found}; a preview cannot be"):
            check_whole(part, ("top", "bottom"))
