import unicodedata

import numpy as np
import pytest
import torch

from vqgen.data import LabelMap
from vqgen.errors import DataError

ANIMALS = LabelMap(("cat", "dog", "Horse"))


def test_name_index_and_digits_find_the_label() -> None:
    assert ANIMALS.index("dog") == 1
    assert ANIMALS.index(1) == 1
    assert ANIMALS.index("1") == 1
    assert ANIMALS.index(np.int64(2)) == 2
    assert len(ANIMALS) == 3


def test_name_goes_before_an_index() -> None:
    numbers = LabelMap(("0", "10", "20"))
    assert numbers.index("10") == 1
    assert numbers.index(2) == 2
    with pytest.raises(DataError, match="from 0 to 2, found 10"):
        numbers.index(10)


def test_digits_are_no_index_among_names_that_are_numbers() -> None:
    ages = LabelMap(("10", "20", "30", "40"))
    for digits in ("2", "010", "1_0", "5"):
        with pytest.raises(DataError, match=f"label should be one of the names, found '{digits}'"):
            ages.index(digits)
    with pytest.raises(DataError, match=r"found '2'; did you mean '20'\?"):
        ages.index("2")
    assert LabelMap(("10", "20", "x")).index("2") == 2


@pytest.mark.parametrize("name", ["élève", "한국", "Å", "ñ\udce9"])
def test_name_is_found_in_any_unicode_form(name: str) -> None:
    composed = unicodedata.normalize("NFC", name)
    taken_apart = unicodedata.normalize("NFD", name)
    for stored, given in ((composed, taken_apart), (taken_apart, composed), (taken_apart, taken_apart)):
        label_map = LabelMap(("plain", stored))
        assert label_map.index(given) == label_map.find(given) == 1
        assert label_map.is_like(LabelMap(("plain", given)))
    assert LabelMap(("eleve",)).find(composed) is None
    assert not LabelMap(("eleve",)).is_like(LabelMap((composed,)))


def test_equal_name_goes_before_another_form_of_it() -> None:
    both = LabelMap(("e\u0301", "\u00e9"))  # a model of an earlier version may have both
    assert (both.find("e\u0301"), both.find("\u00e9")) == (0, 1)
    # U+212B, the sign of a unit, looks like both, so it means neither.
    assert LabelMap(("A\u030a", "\u00c5")).find("\u212b") is None


def test_one_string_is_one_label() -> None:
    letters = LabelMap(("c", "a", "t", "cat"))
    assert letters.resolve("cat") == [3]
    assert letters.resolve(2) == [2]
    assert letters.resolve(["c", 1, "3"]) == [0, 1, 3]
    assert letters.resolve(torch.tensor([0, 2])) == [0, 2]
    assert letters.resolve([]) == []


@pytest.mark.parametrize("label", [3, -1, "3", "-1"])
def test_index_out_of_range_is_refused_with_value_and_range(label: str | int) -> None:
    with pytest.raises(DataError, match=rf"index from 0 to 2, found {label!r}"):
        ANIMALS.index(label)


def test_error_of_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match=r"found 'hrse'; did you mean 'Horse'\?"):
        ANIMALS.index("hrse")


def test_error_of_an_unknown_name_lists_the_first_names() -> None:
    with pytest.raises(DataError, match="names are 'n0', 'n1', 'n2', 'n3', 'n4' and 2 more"):
        LabelMap(tuple(f"n{i}" for i in range(7))).index("zebra")


@pytest.mark.usefixtures("unchecked_annotations")
def test_value_that_is_neither_name_nor_index_is_refused() -> None:
    with pytest.raises(DataError, match=r"name or an index, found 1\.5"):
        ANIMALS.index(1.5)  # pyright: ignore[reportArgumentType]


def test_lookup_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="have no labels"):
        LabelMap().index(0)


def test_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than once: \['a'\]"):
        LabelMap(("a", "b", "a"))
