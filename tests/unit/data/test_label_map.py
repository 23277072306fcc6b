import unicodedata
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from vqgen.data import LabelMap
from vqgen.errors import DataError, VQGenWarning

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
    assert numbers.index(0) == 0
    with pytest.warns(VQGenWarning, match="2 is taken as an index, that of the label '20'; give a name as a string"):
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
    with pytest.raises(DataError, match=r"found '5'; names are '10', .*; 'index:0' is the label '10'"):
        ages.index("5")
    with pytest.warns(VQGenWarning, match="2 is taken as an index, that of the label 'x'"):
        assert LabelMap(("10", "20", "x")).index("2") == 2


@pytest.mark.parametrize("names", [("-10", "0", "10"), ("0.25", "0.5", "1.0"), ("1,5", "2", "3"), ("+1", "007", ".5")])
def test_signs_and_fractions_are_numbers_too(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="should be one of the names"):
        LabelMap(names).index("1")
    assert [LabelMap(names).index(name) for name in names] == [0, 1, 2]


def test_index_can_be_given_explicitly_among_any_names() -> None:
    ages = LabelMap(("10", "20", "30", "40"))
    assert ages.index("index:2") == 2
    assert ANIMALS.index("index:0") == 0
    assert LabelMap(("a", "index:0")).index("index:0") == 1  # a name goes first
    for wrong in ("index:4", "index:-1", "index:", "index:1.0", "index:" + 5000 * "9"):
        with pytest.raises(DataError, match=r"found '?index:"):
            ages.index(wrong)


@pytest.mark.parametrize(
    ("names", "label", "warns"),
    [
        (("0", "1", "2"), 2, False),
        (("0", "1", "2"), "2", False),
        (("10", "20", "30"), 2, True),
        (("1", "2", "3"), 0, True),
        (("b", "1", "c"), 1, False),
        (("1", "b", "c"), 1, True),  # 1 is the name of another label
        (("10", "20", "x"), "1", True),
        (("10", "20", "x"), "2", True),
        (("10", "20", "x"), 2, False),
        (("02.0", "1", "02"), 2, False),
        (("cat", "dog", "cow"), 2, False),
    ],
)
def test_number_that_may_be_meant_as_a_name_is_warned_of(names, label, warns: bool) -> None:
    with pytest.warns(VQGenWarning, match="is taken as an index") if warns else nullcontext():
        assert LabelMap(names).index(label) == int(label)


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


def test_common_names_are_found_in_any_order_and_form():
    own, other = LabelMap(("dog", "owl", "\u00e9l\u00e8ve", "10")), LabelMap(("10", "cat", "dog", "e\u0301le\u0300ve"))
    assert own.common(other) == {0: 2, 2: 3, 3: 0}
    assert own.common(LabelMap()) == LabelMap().common(other) == {}


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
    wrong = (1.5, 1.0, np.float64(1), True, np.True_, torch.tensor(True), None, [1], np.array([1]), b"cat", "\uff11")
    for value in wrong:
        with pytest.raises(DataError, match=r"label:? should be a name or an index"):
            ANIMALS.index(value)  # pyright: ignore[reportArgumentType]
    assert [ANIMALS.index(one) for one in (np.uint8(1), torch.tensor(1), np.array(1), np.str_("dog"))] == [1, 1, 1, 1]


def test_lookup_without_labels_is_refused() -> None:
    with pytest.raises(DataError, match="have no labels"):
        LabelMap().index(0)


def test_repeated_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than once: \['a'\]"):
        LabelMap(("a", "b", "a"))
