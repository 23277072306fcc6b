import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqgen.data import FileReader, ImageSet, LabelMap, Reading, normalize_mode
from vqgen.data.image_set import ArrayReader, fingerprint
from vqgen.data.pictures.extents import Extent

PIXELS = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3)


def image_set(names: str = "abcd", labels: tuple[int, ...] = (0, 1, 1, 0)) -> ImageSet:
    return ImageSet(tuple(names), np.array(labels), ArrayReader(PIXELS))


def test_subset_keeps_names_labels_and_pixels_together() -> None:
    picked = image_set().subset([3, 1, 2]).subset([1, 0])
    assert len(picked) == 2
    assert picked.names == ("b", "d")
    assert picked.labels.tolist() == [1, 0]
    assert [np.asarray(picked.read(index)).tolist() for index in range(2)] == PIXELS[[1, 3]].tolist()
    assert len(image_set().subset([])) == 0


def test_set_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(image_set().subset([2])))
    assert (np.asarray(again.read(0)) == PIXELS[2]).all()


def test_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match="all be different"):
        image_set("abca")


def test_another_number_of_labels_than_names_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one per name \(4\), found shape \(3,\)"):
        image_set(labels=(0, 1, 1))


def test_fingerprint_covers_names_labels_and_contents() -> None:
    prints = [
        fingerprint(LabelMap(("x", "y")), [(image_set(), PIXELS)]),
        fingerprint(LabelMap(("x", "z")), [(image_set(), PIXELS)]),
        fingerprint(LabelMap(("x", "y")), [(image_set("abce"), PIXELS)]),
        fingerprint(LabelMap(("x", "y")), [(image_set(labels=(0, 1, 1, 1)), PIXELS)]),
        fingerprint(LabelMap(("x", "y")), [(image_set(), PIXELS + np.uint8(1))]),
        fingerprint(LabelMap(("x", "y")), [(image_set(), PIXELS), (image_set(), PIXELS)]),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == fingerprint(LabelMap(("x", "y")), [(image_set(), PIXELS.copy())])
    assert len(prints[0]) == 64


def test_pictures_of_arrays_are_not_touched_by_reading_rules() -> None:
    picture = ArrayReader(np.full((1, 2, 2), 10, np.uint8))(0)
    assert normalize_mode(picture, reading=Reading(value_range=(0, 20))) is picture


def test_files_are_read_and_measured_by_the_rules_of_the_set(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 0.5, 2]], np.float32)).save(path)
    reader = FileReader([path], reading=Reading(measured_range=(0, 2)))
    assert np.asarray(reader(0)).tolist() == [[0, 64, 255]]
    assert reader.measure(0) == Extent("float32", 0, 2, None)
    first = FileReader([path], reading=Reading(rules=1))
    assert first.measure(0) is None
    assert np.asarray(first(0)).tolist() == [[0, 0, 2]]  # guessed: values of at most 255
    assert FileReader([path]).reading == Reading()
