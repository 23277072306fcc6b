import pickle

import numpy as np
import pytest

from vqgen.data import ImageSet, LabelMap
from vqgen.data.image_set import ArrayReader, fingerprint

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
