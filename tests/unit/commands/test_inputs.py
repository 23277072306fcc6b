import weakref

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
        ([1 << 21] * 5, [2, 2, 1]),
        ([1, 1 << 30, 1], [1, 1, 1]),
        ([1 << 22, 1], [1, 1]),
    ],
)
def test_batches_are_bounded_in_images_and_pixels(sizes, expected):
    found = list(batches(sizes, pixels=lambda size: size))
    assert [len(batch) for batch in found] == expected
    assert [size for batch in found for size in batch] == sizes


def test_files_that_are_passed_over_are_warned_of(pictures, caplog):
    (pictures / "cat" / "a.psd").touch()
    (pictures / "run" / "vqvae").mkdir(parents=True)
    (pictures / "run" / "vqvae" / "stage.json").write_text('{"stage": "vqvae"}')
    Image.new("RGB", (4, 4)).save(pictures / "run" / "vqvae" / "losses.png")
    assert len(collect_images([str(pictures)], LABELS)) == 4
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("1 of 5 files are pictures that are not read: 1 Photoshop (PSD)")
    assert second.endswith("are no images of the data set: 'run/vqvae'")
    with pytest.raises(DataError, match=r"there is no image; outputs of vqgen in .*; supported are"):
        collect_images([str(pictures / "run")], LABELS)
    assert len(collect_images([str(pictures / "run" / "vqvae")], LABELS)) == 1


@pytest.mark.parametrize(
    ("label", "folder"),
    [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301"), ("a/b", "a_b"), ("con", "con_0"), ("\udcff", "\udcff")],
)
def test_label_is_found_by_its_name_in_any_form_and_by_the_folder_of_its_samples(tmp_path, label, folder):
    (tmp_path / folder).mkdir()
    Image.new("L", (2, 2)).save(tmp_path / folder / "1.png")
    assert collect_images([str(tmp_path)], LabelMap((label, "other"))).labels.tolist() == [0]


def test_name_of_a_label_goes_before_the_folder_of_anothers_samples(tmp_path):
    for folder in ("con_0", "x"):
        (tmp_path / folder).mkdir()
        Image.new("L", (2, 2)).save(tmp_path / folder / "1.png")
    images = collect_images([str(tmp_path)], LabelMap(("con", "con_0", "x")))
    assert images.labels.tolist() == [1, 2]


def test_large_picture_is_gone_before_the_next_one_is_read():
    alive = []

    def read():
        for _ in range(3):
            assert all(picture() is None for picture in alive)
            picture = Image.new("L", (2200, 2000))
            alive.append(weakref.ref(picture))
            yield "large", picture
            del picture

    for batch in batches(read(), lambda each: each[1].width * each[1].height):
        assert len(batch) == 1
        del batch
    assert len(alive) == 3
