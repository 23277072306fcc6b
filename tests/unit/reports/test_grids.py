import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.reports.grids import save_image, save_neighbours, save_reconstruction_grid, save_side_by_side


def batch(b, side=48, channels=1):
    """Pictures of one value each, 10, 20, ..."""
    return (10 * torch.arange(1, b + 1, dtype=torch.uint8)).view(b, 1, 1, 1).expand(b, channels, side, side)


def column(path, place, columns):
    """The values of a column of a grid from the top down, without white and without repetitions."""
    with Image.open(path) as grid:
        array = np.asarray(grid)
    values = array[:, array.shape[1] * (2 * place + 1) // (2 * columns)].tolist()
    return list(dict.fromkeys(value for value in values if value != 255))


def runs_of(line):
    """The values along a line of pixels, without repetitions."""
    return [int(value) for place, value in enumerate(line) if place == 0 or value != line[place - 1]]


def test_reconstructions_lie_below_their_originals(tmp_path):
    originals = batch(5)
    reconstructions = batch(5) + 1
    save_reconstruction_grid(originals, reconstructions, tmp_path / "a.png", columns=3)
    assert [column(tmp_path / "a.png", place, 3) for place in range(3)] == [
        [10, 11, 40, 41],
        [20, 21, 50, 51],
        [30, 31],
    ]
    save_reconstruction_grid(originals[:1], reconstructions[:1], tmp_path / "b.png")
    assert column(tmp_path / "b.png", 0, 1) == [10, 11]


def test_neighbours_lie_below_samples_taken_evenly_from_all(tmp_path):
    save_neighbours(batch(9), batch(9) + 1, tmp_path / "a.png", most=3)
    assert [column(tmp_path / "a.png", place, 3) for place in range(3)] == [[10, 11], [50, 51], [90, 91]]


def test_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    save_image(Image.new("L", (2, 2), 7), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(image, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        save_image(Image.new("L", (2, 2)), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_sets_of_images_stand_side_by_side_with_the_same_labels_in_the_rows(tmp_path):
    sets = {"one": batch(6), "runs/another": 5 + batch(6)}
    save_side_by_side(sets, ["cat", "dog"], 3, tmp_path / "samples.png")
    picture = np.asarray(Image.open(tmp_path / "samples.png"))[..., 0]
    ends = [tuple(runs_of(line)[-12:]) for line in picture]
    rows = [[10, 20, 30, 15, 25, 35], [40, 50, 60, 45, 55, 65]]
    first, second = (ends.index(tuple(value for number in row for value in (number, 255))) for row in rows)
    assert second == first + 48 + 3
    assert (picture[: first - 3] < 255).any()  # the names above
    assert (picture[first:, :20] < 255).any()  # the labels before the rows


def test_few_of_many_labels_and_images_are_shown_and_long_names_are_cut(tmp_path):
    images = torch.zeros(100 * 10, 3, 48, 48, dtype=torch.uint8)
    images[::10] = 7
    images[8::10] = 9
    save_side_by_side(
        {"a/very/long/path" * 9: images, "b": images}, [str(n) for n in range(100)], 10, tmp_path / "a.png"
    )
    picture = np.asarray(Image.open(tmp_path / "a.png"))[..., 0]
    first_of_last_block = picture[:, 4 - 8 * 51]
    assert runs_of(first_of_last_block)[-41:] == [255, *[7, 255] * 20]
    assert 8 * 51 < len(picture[0]) / 2 < 9 * 51
    assert not any(9 in line for line in picture[50:, 100:])


def test_images_without_labels_fill_a_row(tmp_path):
    save_side_by_side({"one": batch(2), "two": batch(2)}, [], 2, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))[..., 0]
    assert any(runs_of(line) == [255, 10, 255, 20, 255, 10, 255, 20, 255] for line in picture)


ODD = ("caf\udce9", "a\nb", "$x$ and $", "_", "한국", "\x1b[31m", "x" * 255)


def test_odd_names_are_written_beside_a_picture(tmp_path):
    images = torch.zeros(len(ODD), 1, 4, 4, dtype=torch.uint8)
    save_side_by_side({name: images for name in ODD[:2]}, ODD, 1, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width < 900  # the longest name has not made it as wide as itself
