import pytest
from PIL import Image

from vqgen.commands.inputs import batches, collect_files, collect_images, read_all
from vqgen.commands.tally import Tally
from vqgen.data import LabelMap
from vqgen.errors import ConfigError, DataError

LABELS = LabelMap(("cat", "dog"))


@pytest.fixture
def pictures(tmp_path):
    for name in ("x.png", "cat/x.png", "cat/deep/y.png", "dog/cat/z.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "pictures" / "notes.txt").write_text("notes")
    return tmp_path / "pictures"


def test_file_in_a_folder_is_named_by_its_path_below_it(pictures):
    files = collect_files([str(pictures)], (".png",), "image")
    assert set(files) == {"x.png", "cat/x.png", "cat/deep/y.png", "dog/cat/z.png"}
    assert all(path == pictures / name for name, path in files.items())


def test_file_on_its_own_is_named_by_its_file_name_and_may_have_any_ending(pictures):
    files = collect_files([str(pictures / "notes.txt"), str(pictures / "cat" / "x.png")], (".png",), "image")
    assert set(files) == {"notes.txt", "x.png"}


def test_two_files_of_one_name_are_refused(pictures):
    with pytest.raises(ConfigError, match=r"x\.png: would be written to the same place as .*; give them one by one"):
        collect_files([str(pictures / "x.png"), str(pictures / "cat" / "x.png")], (".png",), "image")


def test_missing_path_and_folder_without_files_are_refused(pictures):
    with pytest.raises(DataError, match="gone: there is no such file or folder"):
        collect_files([str(pictures / "gone")], (".png",), "image")
    with pytest.raises(DataError, match=r"there is no image; supported are \.bmp, \.webp"):
        collect_files([str(pictures)], (".webp", ".bmp"), "image")


def test_missing_path_beside_others_is_a_file_that_cannot_be_read(pictures, capsys):
    (pictures / "link.png").symlink_to(pictures / "nowhere")
    paths = [str(pictures / "gone.png"), str(pictures / "x.png"), str(pictures / "link.png"), "n" * 300]
    images = collect_images(paths, LABELS)
    assert images.names == ("gone.png", "x.png", "link.png", "n" * 300)
    tally = Tally(len(images))
    assert [name for name, _ in read_all(images, tally)] == ["x.png"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == tally.failed == 3
    assert all(name in line for name, line in zip(("gone.png", "link.png", "n" * 300), lines, strict=True))


def test_image_has_the_label_of_its_innermost_folder(pictures):
    images = collect_images([str(pictures)], LABELS)
    found = dict(zip(images.names, images.labels.tolist(), strict=True))
    assert found == {"x.png": -1, "cat/x.png": 0, "cat/deep/y.png": 0, "dog/cat/z.png": 0}


def test_unreadable_image_is_reported_and_left_out(pictures, capsys):
    (pictures / "cat" / "x.png").write_bytes(b"no image")
    images = collect_images([str(pictures)], LABELS)
    tally = Tally(len(images))
    assert [name for name, _ in read_all(images, tally)] == [name for name in images.names if name != "cat/x.png"]
    assert tally.failed == 1
    error = capsys.readouterr().err
    assert error.startswith("vqgen: ") and "x.png" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1] * 300, [256, 44]),
        ([1 << 19] * 5, [2, 2, 1]),
        ([1, 1 << 30, 1], [1, 1, 1]),
        ([1 << 20, 1], [1, 1]),
    ],
)
def test_batches_are_bounded_in_images_and_pixels(sizes, expected):
    found = list(batches(sizes, pixels=lambda size: size))
    assert [len(batch) for batch in found] == expected
    assert [size for batch in found for size in batch] == sizes
