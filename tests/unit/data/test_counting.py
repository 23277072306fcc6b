from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import ImageCounts, count_images, open_images
from vqgen.errors import DataError


def config(**fields: object) -> DataConfig:
    return DataConfig(**({"source": "folder", "image_size": 8} | fields))


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(root / name)
    return root


def opened(data: DataConfig) -> ImageCounts:
    splits = open_images(data, 0)
    test = 0 if splits.test is None else len(splits.test)
    return ImageCounts(len(splits.train), len(splits.validation), test, len(splits.label_map))


def test_counts_of_digits_differ_by_at_most_one_image_of_each_label():
    data = config(source="digits", validation_fraction=0.15)
    counted = count_images(data)
    found = opened(data)
    assert counted.total == found.total == 1797
    assert counted.classes == found.classes
    assert abs(counted.validation - found.validation) <= 10


@pytest.mark.parametrize("count", [9, 10])
def test_folders_of_labels_are_counted(tmp_path, count):
    data = config(root=str(write(tmp_path, *(f"{name}/{i}.png" for name in "ab" for i in range(10 * count)))))
    assert count_images(data) == opened(data) == ImageCounts(18 * count, 2 * count, 0, 2)


def test_folders_of_splits_are_counted(tmp_path):
    names = ["train/a/1.png", "train/a/2.png", "train/b/1.png", "val/b/1.png", "test/a/1.png", "test/b/2.png"]
    data = config(root=str(write(tmp_path, *names)))
    assert count_images(data) == opened(data) == ImageCounts(3, 1, 2, 2)


def test_missing_folder_has_no_counts(tmp_path):
    assert count_images(config()) is None
    assert count_images(config(root=str(tmp_path / "nowhere"))) is None


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="found none"):
        count_images(config(root=str(tmp_path)))
