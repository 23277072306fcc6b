import numpy as np
import pytest
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import ImageCounts
from vqgen.errors import DataError
from vqgen.planning import budget_pictures
from vqgen.planning.budget_pictures import counted_images, sample_pictures


def save(path, *, size=(20, 30), grey=False, rgb_grey=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(str(path)))
    pixels = random.integers(0, 256, (size[1], size[0]) if grey or rgb_grey else (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    (image.convert("RGB") if rgb_grey else image).save(path)


def folder_data(root, **changes):
    return DataConfig(source="folder", root=str(root), image_size=16, **changes)


def test_sample_tells_size_colour_labels_and_time(tmp_path):
    for number in range(6):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", size=(20 + 10 * number, 90))
    pictures = sample_pictures(folder_data(tmp_path))
    assert pictures.counts == ImageCounts(5, 1, 0, 2)
    assert pictures.side == 45
    assert not pictures.is_grey
    assert pictures.read_seconds > 0
    assert len(pictures.sample) == 6
    assert "5 pictures to train on and 1 held out, about 45 pixels wide, in colour, with 2 labels" in pictures.text


@pytest.mark.parametrize(("kind", "is_grey"), [("grey", True), ("rgb_grey", True), (None, False)])
def test_colour_is_that_of_the_pixels_and_not_of_the_file(tmp_path, kind, is_grey):
    for number in range(3):
        save(tmp_path / f"{number}.png", grey=True)
    save(tmp_path / "last.png", **({kind: True} if kind else {}))
    assert sample_pictures(folder_data(tmp_path)).is_grey == is_grey


def test_sample_is_spread_over_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(budget_pictures, "_MOST", 4)
    for number in range(12):
        save(tmp_path / f"{number:02}.png", size=(10 + number, 50))
    assert [picture.width for picture in sample_pictures(folder_data(tmp_path)).sample] == [10, 13, 16, 19]


def test_sample_of_slow_pictures_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr(budget_pictures, "_MOST_SECONDS", 0.0)
    for number in range(5):
        save(tmp_path / f"{number}.png")
    assert len(sample_pictures(folder_data(tmp_path)).sample) == 1


def test_time_to_read_is_that_of_most_pictures(tmp_path, monkeypatch):
    """One reading of seven is held up by another program."""
    for number in range(7):
        save(tmp_path / f"{number}.png")
    clock = [0.0]
    read_image = budget_pictures.read_image

    def read(path, reading):
        clock[0] += 0.4 if path.stem == "3" else 0.01
        return read_image(path)

    monkeypatch.setattr(budget_pictures, "read_image", read)
    monkeypatch.setattr(budget_pictures.time, "perf_counter", lambda: clock[0])
    assert sample_pictures(folder_data(tmp_path)).read_seconds == pytest.approx(0.01)


def test_pictures_without_a_range_are_timed_before_it_is_measured(tmp_path):
    Image.fromarray(np.full((8, 8), 3.0, np.float32)).save(tmp_path / "a.tif")
    assert sample_pictures(folder_data(tmp_path)).is_grey


def test_unreadable_picture_is_left_out_of_the_sample(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    save(tmp_path / "b.png")
    assert len(sample_pictures(folder_data(tmp_path)).sample) == 1


def test_folder_without_a_readable_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"data\.root: should be a folder of images that can be read, found none among"):
        sample_pictures(folder_data(tmp_path))


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: should be a folder of images for a budget, found nothing at"):
        counted_images(folder_data(tmp_path / "none"))


@pytest.mark.parametrize(
    ("source", "side", "is_grey"), [("digits", 8, True), ("fashion-mnist", 28, True), ("cifar10", 32, False)]
)
def test_set_that_may_have_to_be_downloaded_is_not_opened(tmp_path, monkeypatch, source, side, is_grey):
    monkeypatch.chdir(tmp_path)
    pictures = sample_pictures(DataConfig(source=source, image_size=16))
    assert (pictures.side, pictures.is_grey, pictures.read_seconds) == (side, is_grey, 0)
    assert {picture.size for picture in pictures.sample} == {(side, side)}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{}, {"random_crop": 0.8}, {"horizontal_flip": True}, {"random_rotation": 5.0, "channels": 1}]
)
def test_transforms_are_timed(changes):
    data = DataConfig(source="cifar10", image_size=16, **changes)
    pictures = sample_pictures(data)
    assert pictures.centre_seconds(data) > 0
    assert pictures.random_seconds(data) > 0
