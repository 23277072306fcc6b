"""Photographs are cut into squares that do not overlap, and those held out are whole photographs."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import main, pictures_below, places, squares
from vqgen.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Ten pictures whose red and green are the place of a pixel, in two folders."""
    rows, columns = np.mgrid[:150, :200].astype(np.uint8)
    for index in range(10):
        path = tmp_path / "in" / str(index % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([rows, columns, np.full_like(rows, index)], axis=2)).save(path)
    return tmp_path / "in"


@pytest.mark.parametrize(("width", "height", "size", "most"), [(200, 150, 32, 8), (64, 64, 64, 5), (63, 64, 64, 5)])
def test_squares_lie_inside_and_do_not_overlap(width, height, size, most):
    found = places(width, height, size, most, np.random.default_rng(3))
    assert len(found) == min(most, (width // size) * (height // size))
    seen = np.zeros((height, width), dtype=int)
    for left, upper in found:
        part = seen[upper : upper + size, left : left + size]
        assert part.shape == (size, size)
        part += 1
    assert seen.max(initial=0) <= 1


def test_squares_have_the_pixels_of_their_place_at_every_scale(folder):
    found = dict(squares(folder / "0" / "4.png", 32, 3, np.random.default_rng(0)))
    assert {name.split("-")[1] for name in found} == {"1", "2", "4"}
    for name, square in found.items():
        scale, left, upper = (int(part) for part in name.removesuffix(".png").split("-")[1:])
        assert square.size == (32, 32)
        corner = square.getpixel((0, 0))
        middle = (scale - 1) / 2  # a pixel of a smaller picture is the mean of a square
        assert corner == pytest.approx((scale * upper + middle, scale * left + middle, 4), abs=1)


def test_held_out_squares_are_of_other_photographs(folder, tmp_path, capsys):
    words = [str(folder), "-o", str(tmp_path / "out"), "--size", "32", "--squares", "4", "--held-out", "0.3"]
    assert main(words) == 0
    origins = {
        split: {path.name.split("-")[0] for path in (tmp_path / "out" / split / "photos").iterdir()}
        for split in ("train", "val")
    }
    assert len(origins["val"]) == 3
    assert len(origins["train"]) == 7
    assert not origins["train"] & origins["val"]
    assert "pictures to train on" in capsys.readouterr().out
    with pytest.raises(DataError, match="should not exist yet"):
        main(words)


def test_small_pictures_are_taken_as_they_are(folder, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "small" / split / "a").mkdir(parents=True)
        Image.new("RGB", (20, 10)).save(tmp_path / "small" / split / "a" / "x.png")
    main([str(folder), "-o", str(tmp_path / "out"), "--size", "32", "--small", str(tmp_path / "small")])
    for split in ("train", "val"):
        with Image.open(tmp_path / "out" / split / "photos" / "a-x.png") as picture:
            assert picture.size == (20, 10)


def test_pictures_are_in_the_order_of_their_names(folder, tmp_path):
    assert [path.name for path in pictures_below([folder / "1", folder / "0"])] == [
        f"{index}.png" for index in range(10)
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="should be or contain pictures"):
        pictures_below([tmp_path / "empty"])
