import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import labelled, opened, write
from PIL import Image

from vqgen.errors import DataError


def test_label_folders_are_split_by_label(tmp_path: Path) -> None:
    splits = opened(labelled(tmp_path, "dog", "cat"), validation_fraction=0.2)
    assert splits.label_map.names == ("cat", "dog")
    assert np.bincount(splits.train.labels).tolist() == [8, 8]
    assert np.bincount(splits.validation.labels).tolist() == [2, 2]
    assert splits.test is None
    order = sorted(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10))
    for split, images in (("train", splits.train), ("validation", splits.validation)):
        assert images.names == tuple(order[index] for index in splits.indices[split])
        assert [splits.label_map.names[label] for label in images.labels] == [name[:3] for name in images.names]
    # `write` fills all but a row of image number i with i. The dogs came first, so their pixels equal their names.
    last = len(splits.train) - 1
    assert (np.asarray(splits.train.read(last))[1:] == int(splits.train.names[last][len("dog/") : -len(".png")])).all()


def test_images_deep_in_a_label_folder_belong_to_it(tmp_path: Path) -> None:
    splits = opened(write(tmp_path, "a/x/1.png", "a/2.png", "b/y/z/3.png", "b/4.jpg", "b/notes.png/5.png"))
    assert {*splits.train.names, *splits.validation.names} == {
        "a/x/1.png", "a/2.png", "b/y/z/3.png", "b/4.jpg", "b/notes.png/5.png"
    }  # fmt: skip
    assert splits.label_map.names == ("a", "b")


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_split_folders_become_splits(tmp_path: Path, validation: str) -> None:
    labelled(tmp_path / "Train", "cat", "dog")
    labelled(tmp_path / validation, "dog", count=3)
    labelled(tmp_path / "test", "cat", "dog", count=2)
    splits = opened(tmp_path)
    assert splits.test is not None
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [20, 3, 4]
    assert splits.validation.labels.tolist() == [1, 1, 1]
    assert splits.validation.names[0] == f"{validation}/dog/0.png"
    assert splits.indices == {"train": list(range(20)), "validation": [0, 1, 2], "test": [0, 1, 2, 3]}


def test_validation_is_drawn_from_train_if_it_has_no_folder(tmp_path: Path) -> None:
    labelled(tmp_path / "train", "cat", "dog")
    labelled(tmp_path / "test", "cat", "dog", count=2)
    splits = opened(tmp_path)
    assert (len(splits.train), len(splits.validation)) == (18, 2)
    assert sorted(splits.indices["train"] + splits.indices["validation"]) == list(range(20))
    assert list(splits.indices) == ["train", "validation", "test"]


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    assert opened(labelled(tmp_path, "10", "2", "1")).label_map.names == ("1", "2", "10")
    assert opened(labelled(tmp_path, "x")).label_map.names == ("1", "10", "2", "x")


@pytest.mark.parametrize("prefix", ["", "only/", "train/", "train/only/"])
def test_one_folder_or_none_trains_without_labels(tmp_path: Path, prefix: str) -> None:
    splits = opened(write(tmp_path, *(f"{prefix}{number}.png" for number in range(10))))
    assert splits.label_map.names == ()
    assert set(splits.train.labels) == set(splits.validation.labels) == {-1}
    assert (len(splits.train), len(splits.validation)) == (9, 1)


def test_fingerprint_follows_the_files_and_not_the_place(tmp_path: Path) -> None:
    first = opened(labelled(tmp_path / "a", "cat", "dog")).fingerprint
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert opened(tmp_path / "b", seed=3, validation_fraction=0.5).fingerprint == first
    (tmp_path / "b" / "cat" / "0.png").rename(tmp_path / "b" / "cat" / "new.png")
    renamed = opened(tmp_path / "b").fingerprint
    with (tmp_path / "b" / "cat" / "new.png").open("ab") as file:
        file.write(b"\0")
    assert len({first, renamed, opened(tmp_path / "b").fingerprint}) == 3


def test_linked_label_folders_are_read(tmp_path: Path) -> None:
    labelled(tmp_path / "elsewhere", "c")
    labelled(tmp_path / "root", "cat")
    os.symlink(tmp_path / "elsewhere" / "c", tmp_path / "root" / "linked")
    assert opened(tmp_path / "root").label_map.names == ("cat", "linked")


def test_empty_label_folders_are_ignored_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelled(tmp_path, "cat", "dog")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    with caplog.at_level(logging.WARNING, "vqgen.data"):
        assert opened(tmp_path).label_map.names == ("cat", "dog")
    assert [record.message for record in caplog.records] == [
        f"folders without images in '{tmp_path}' are ignored: 'empty'"
    ]


def test_unreadable_images_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelled(tmp_path, "cat", "dog")
    sound = opened(tmp_path)
    (tmp_path / "cat" / "3.png").write_bytes((tmp_path / "cat" / "3.png").read_bytes()[:40])
    (tmp_path / "dog" / "5.png").unlink()
    os.symlink(tmp_path / "gone", tmp_path / "dog" / "5.png")
    with caplog.at_level(logging.WARNING, "vqgen.data"):
        splits = opened(tmp_path, max_unreadable=0.1)
    assert [*splits.unreadable] == ["cat/3.png", "dog/5.png"]
    assert not {*splits.train.names, *splits.validation.names} & set(splits.unreadable)
    assert sorted(splits.indices["train"] + splits.indices["validation"]) == [i for i in range(20) if i not in (3, 15)]
    assert splits.fingerprint != sound.fingerprint
    (record,) = caplog.records
    assert "2 of 20 images cannot be read" in record.message
    assert "cat/3.png': " in record.message
    assert "dog/5.png': No such file" in record.message


def test_too_many_unreadable_images_are_refused(tmp_path: Path) -> None:
    labelled(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "3.png").write_text("no image")
    with pytest.raises(
        DataError,
        match=r"at most 0\.01 of all, found 0\.05 \(1 of 20 images\): cat/3\.png \(the first: .*format is not known\)"
        r".*--data\.max-unreadable",
    ):
        opened(tmp_path)


def spoil(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_text("no image")


def test_label_or_split_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path / "train", "cat", "dog")
    labelled(tmp_path / "val", "cat")
    spoil(tmp_path / "train" / "dog")
    with pytest.raises(
        DataError, match="every label should have images to train on, found none that can be read of 'dog'"
    ):
        opened(tmp_path, max_unreadable=1)
    spoil(tmp_path / "val")
    with pytest.raises(DataError, match=r"split 'validation' of .* should have images, found none that can be read"):
        opened(tmp_path, max_unreadable=1)
    spoil(tmp_path)
    with pytest.raises(DataError, match="30 of 30 images"):
        opened(tmp_path, max_unreadable=1)


def test_root_that_is_absent_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none\. Give --data\.root"):
        opened(None)
    with pytest.raises(DataError, match=r"found nothing at '.*missing'\. Correct --data\.root"):
        opened(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="found a file at"):
        opened(tmp_path / "file")


def test_root_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"should contain images, found none\. Set --data\.root"):
        opened(tmp_path)


def test_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 2"):
        opened(write(tmp_path, "a.png"))


def test_images_beside_label_folders_are_refused(tmp_path: Path) -> None:
    write(labelled(tmp_path, "cat", "dog"), "stray.png")
    with pytest.raises(DataError, match=r"found both: images 'stray\.png' beside folders 'cat', 'dog'"):
        opened(tmp_path)


def test_label_that_train_lacks_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path / "train", "cat", "dog")
    labelled(tmp_path / "val", "cat", "horse")
    with pytest.raises(DataError, match=r"val' should all be in '.*train' too, found 'horse' only in the first"):
        opened(tmp_path)


def test_split_without_label_folders_is_refused_if_train_has_them(tmp_path: Path) -> None:
    labelled(tmp_path / "train", "cat", "dog")
    write(tmp_path / "val", "1.png")
    with pytest.raises(DataError, match=r"val' should have label folders like '.*train', found images outside"):
        opened(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "valid"):
        labelled(tmp_path / split, "cat", "dog")
    with pytest.raises(DataError, match="one validation folder, found 'val' and 'valid'"):
        opened(tmp_path)


def test_splits_without_train_are_refused(tmp_path: Path) -> None:
    labelled(tmp_path, "cat", "test")
    with pytest.raises(DataError, match="should have a folder 'train' beside 'test', found none"):
        opened(tmp_path)


def test_label_named_train_is_refused_not_guessed(tmp_path: Path) -> None:
    labelled(tmp_path, "bus", "car", "train")
    with pytest.raises(DataError, match=r"found also 'bus', 'car'.*rename 'train' if it is a label"):
        opened(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("bus", "car"):
        shutil.rmtree(tmp_path / name)
    assert len(opened(tmp_path).train) == 9


def test_range_of_floats_is_measured_once_over_the_training_images(tmp_path: Path) -> None:
    for split, high in (("train", 2.0), ("val", 8.0)):
        (tmp_path / split).mkdir()
        for number in range(4):
            values = np.array([[0, high * (number + 1) / 4]], np.float32)
            Image.fromarray(values).save(tmp_path / split / f"{number}.tif")
    splits = opened(tmp_path)
    assert splits.measured_range == (0, 2)
    assert np.asarray(splits.train.read(0)).tolist() == [[0, 64]]
    assert np.asarray(splits.validation.read(0)).tolist() == [[0, 255]]  # clipped
    declared = opened(tmp_path, value_range=(0, 8))
    assert declared.measured_range is None
    assert np.asarray(declared.validation.read(1)).tolist() == [[0, 128]]
    assert opened(tmp_path, measured_range=(0, 4)).measured_range == (0, 4)  # of the model, for other images
