"""Outputs, other formats, odd names and small labels in a folder of images."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from image_folders import labelled, opened, write
from PIL import Image, ImageOps

from vqgen.config import DataConfig
from vqgen.data.folder import count_folder
from vqgen.errors import DataError


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_outputs_below_the_root_change_neither_images_nor_fingerprint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flat = write(tmp_path / "flat", *(f"{number}.png" for number in range(10)))
    classes = labelled(tmp_path / "classes", "cat", "dog")
    splits = labelled(labelled(tmp_path / "splits", "train/cat", "train/dog") / "test", "cat", "dog", count=2).parent
    for root in (flat, classes, splits):
        before = opened(root)
        assert messages(caplog) == []
        for place in ("checkpoints/tiny", "val", "train"):  # a run may have the name of a split
            if root / place != splits / "train":
                write(root / place / "vqvae", "losses.png")
                (root / place / "vqvae" / "stage.json").write_text('{"stage": "vqvae"}')
                (root / place / "recipe.toml").touch()
        after = opened(root)
        assert after.fingerprint == before.fingerprint
        assert after.indices == before.indices
        assert after.label_map == before.label_map
        assert count_folder(DataConfig(source="folder", image_size=4, root=str(root)))[0]["train"] in (10, 20)
        if root != splits:  # beside folders of splits nothing is searched
            (message,) = messages(caplog)
            assert "outputs of vqgen" in message
        caplog.clear()


def test_root_with_nothing_but_outputs_says_so(tmp_path: Path) -> None:
    write(tmp_path / "run" / "vqvae", "losses.png")
    (tmp_path / "run" / "vqvae" / "stage.json").write_text('{"stage": "vqvae"}')
    with pytest.raises(DataError, match=r"found none; outputs of vqgen in .*: 'run/vqvae'\. Set --data\.root"):
        opened(tmp_path)


def test_pictures_of_other_formats_are_named_once_with_their_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, *(f"{number}.jpg" for number in range(6)))
    for number in range(5):
        (tmp_path / f"{number}.psd").touch()
    (tmp_path / "a.nef").touch()
    opened(tmp_path)
    (message,) = messages(caplog)
    assert message.startswith("6 of 12 files are pictures that are not read: 5 Photoshop (PSD) (convert")
    assert message.endswith("1 camera raw")
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match=r"found none; 6 of 6 files are pictures that are not read: 5 Photoshop"):
        opened(tmp_path)


def test_change_of_pixels_in_a_file_of_the_same_size_changes_the_fingerprint(tmp_path: Path) -> None:
    names = [f"{label}/{number}.bmp" for label in ("cat", "dog") for number in range(3)]
    before = opened(write(tmp_path, *names))
    with Image.open(tmp_path / "dog" / "1.bmp") as image:
        inverted = ImageOps.invert(image.convert("RGB"))
    inverted.save(tmp_path / "dog" / "1.bmp")
    after = opened(tmp_path)
    assert after.fingerprint != before.fingerprint
    # Records of earlier versions have the fingerprint by sizes, which is the same as ever.
    assert after.earlier_fingerprints == before.earlier_fingerprints
    assert opened(write(tmp_path, *names)).fingerprint != after.fingerprint


def test_fingerprint_by_sizes_is_that_of_earlier_versions(tmp_path: Path) -> None:
    for name, content in (
        ("a/1.pgm", b"P5 1 1 255 \x07"),
        ("a/2.pgm", b"P5 1 1 255 \x08"),
        ("b/3.pgm", b"P5 2 1 255 ab"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    # Written by version 0.1 for these files.
    assert opened(tmp_path).earlier_fingerprints == (
        "e02720c03725489374d04407802be188a0f87860d290065c6c634fd9a5c3e76b",
    )


@pytest.mark.parametrize("name", ["élève", "한국", "ñ\udce9"])
def test_label_of_train_is_found_in_another_unicode_form(tmp_path: Path, name: str) -> None:
    composed, taken_apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    labelled(tmp_path / "train", taken_apart, "plain")
    labelled(tmp_path / "val", composed, "plain", count=2)
    labelled(tmp_path / "test", taken_apart, "plain", count=1)
    splits = opened(tmp_path)
    assert set(splits.label_map.names) == {taken_apart, "plain"}
    assert np.bincount(splits.validation.labels).tolist() == [2, 2]
    assert splits.test is not None
    assert np.bincount(splits.test.labels).tolist() == [1, 1]
    assert count_folder(DataConfig(source="folder", image_size=4, root=str(tmp_path)))[1] == 2


def test_two_forms_of_one_label_in_a_split_are_refused_and_both_named(tmp_path: Path) -> None:
    labelled(tmp_path, "e\u0301", "\u00e9", "plain")
    with pytest.raises(DataError, match=r"'e\\u0301' and '\\xe9'\. Move the images"):
        opened(tmp_path)


def test_names_that_are_no_text_are_labels_and_images_like_others(tmp_path: Path) -> None:
    name = os.fsdecode(b"ni\xf1o")
    splits = opened(labelled(tmp_path / os.fsdecode(b"\xff\n"), name, "a\tb"))
    assert splits.label_map.names == ("a\tb", name)
    assert f"{name}/0.png" in {*splits.train.names, *splits.validation.names}


def test_label_with_one_image_is_trained_on_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelled(labelled(tmp_path, "cat", "dog"), "emu", "fox", count=1)
    splits = opened(tmp_path, validation_fraction=0.9)
    assert set(splits.train.labels) == {0, 1, 2, 3}
    assert set(splits.validation.labels) == {0, 1}
    assert messages(caplog) == ["labels with a single image are trained on, but cannot be validated: 'emu', 'fox'"]


def test_labels_with_one_image_each_are_refused_before_any_label_loses_its_image(tmp_path: Path) -> None:
    labelled(tmp_path, *(f"person{number}" for number in range(6)), count=1)
    with pytest.raises(DataError, match=r"found 6 labels with one image each \('person0', .* and 1 more\)"):
        opened(tmp_path)
    labelled(tmp_path / "split" / "train", "a", "b", count=1)
    labelled(tmp_path / "split" / "val", "a", count=1)
    assert set(opened(tmp_path / "split").train.labels) == {0, 1}
