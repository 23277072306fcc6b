"""Labels and their names, in the order of their indices."""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, SupportsIndex

from vqgen.arguments import as_index, as_instance, as_items, found_text
from vqgen.errors import DataError, VQGenWarning
from vqgen.storage.names import comparable, listed

Label = str | SupportsIndex
"""A label: a name, or an index as an integer (of Python, NumPy or torch), in digits, or as `index:N`."""

Labels = Iterable[Label | None] | Label | None
"""Labels of a request: names or indices in a list, tuple, range, array or generator, or one of them."""

_INDEX = re.compile(r"index:([0-9]+)", re.ASCII)
"""An index that cannot be mistaken for a name. A `#` would begin a comment in a shell."""

_NUMBER = re.compile(r"[+-]?[0-9]*[.,]?[0-9]+", re.ASCII)
"""A name that reads as a number: an age, an angle, a year."""


@dataclass(frozen=True)
class LabelMap:
    """A map from names of labels to indices 0, 1, ... and back.

    Attributes:
        names: One name per label, all different. Empty for images or a model without labels.

    Raises:
        DataError: The names are no strings, or are in no order.
        ValueError: Two names are equal.
    """

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = as_items("names", self.names, "names of labels, in an order")
        object.__setattr__(self, "names", tuple(as_instance("names", each, str, error=DataError) for each in names))
        if len(set(self.names)) != len(self.names):
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"names of labels should all be different, found more than once: {repeated}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, label: Label) -> int:
        """Looks up one label.

        A name goes first. An integer is an index. Digits in a string are an index too, unless all names are numbers:
        with the names "0", "10" and "20", the string "10" is the label of that name, the number 10 is out of range,
        and the string "2" is unknown. `index:2` is the label of index 2 among any names.

        Args:
            label: A name, in any Unicode form, or an index.

        Returns:
            The index, in [0, len(self)).

        Raises:
            DataError: There is no such name or index, or the value is a boolean, a float or another object.

        Warns:
            VQGenWarning: A number is taken as the index of a label whose name is another number.
        """
        if isinstance(label, str):
            found = self.find(str(label))
            return self._index_in(str(label)) if found is None else found
        index = as_index("label", label, error=DataError, what="a name or an index")
        self._check_range(index, index)
        self._warn_of_another_number(index, self._are_numbers)
        return index

    def _index_in(self, text: str) -> int:
        """Returns the index that a string names which is no name."""
        explicit = _INDEX.fullmatch(text)
        # The labels 10, 20 and 30 of ages: "2" is a slip of the pen, and not the third of them.
        if explicit is None and (not (text.isascii() and text.isdecimal()) or self._are_numbers):
            raise DataError(self._unknown(text))
        index = int((explicit[1] if explicit else text)[:20])  # Python refuses to read thousands of digits
        self._check_range(index, text)
        if explicit is None:
            self._warn_of_another_number(index, any(_NUMBER.fullmatch(name) for name in self.names))
        return index

    def _check_range(self, index: int, label: Label) -> None:
        if not 0 <= index < len(self):
            raise DataError(self._unknown(label))

    def _warn_of_another_number(self, index: int, is_doubtful: bool) -> None:
        """Warns of an index that may have been meant as a name.

        Args:
            index: The index.
            is_doubtful: True to warn unless the name of its label is this number; False to warn only if another label
                has this number as its name.
        """
        name = self.names[index]
        is_this_number = _NUMBER.fullmatch(name) is not None and float(name.replace(",", ".")) == index
        if not is_this_number and (is_doubtful or str(index) in self.names):
            warnings.warn(
                f"label: {index} is taken as an index, that of the label {name!r}; give a name as a string, or "
                f"'index:{index}' for this label",
                VQGenWarning,
                stacklevel=3,
            )

    def find(self, name: str) -> int | None:
        """Returns the index of a name; None if no label has it.

        The same letters in another Unicode form are the same name: macOS takes an accent apart, and a keyboard does
        not. A name that is equal sign by sign goes first.
        """
        if as_instance("name", name, str, "a name", DataError) in self.names:
            return self.names.index(name)
        wanted = comparable(name)
        alike = [index for index, known in enumerate(self.names) if comparable(known) == wanted]
        return alike[0] if len(alike) == 1 else None

    def common(self, other: "LabelMap") -> dict[int, int]:
        """Returns index -> index in the other map, for the names that both have."""
        found = {index: other.find(name) for index, name in enumerate(self.names)}
        return {index: place for index, place in found.items() if place is not None}

    def is_like(self, other: "LabelMap") -> bool:
        """Returns True if both maps have the same names, each in any Unicode form."""
        return [*map(comparable, self.names)] == [*map(comparable, other.names)]

    def resolve(self, labels: Label | Iterable[Label]) -> list[int]:
        """Looks up several labels.

        Args:
            labels: Names and indices in any mixture. One string or number is one label, never a sequence of letters.

        Returns:
            One index per label.

        Raises:
            DataError: A name or index is unknown.
        """
        return [self.index(label) for label in listed_labels(labels)]

    def _unknown(self, label: Label) -> str:
        shown = repr(label) if isinstance(label, str) and len(label) <= 60 else found_text(label)
        if not self.names:
            return f"label {shown} cannot be looked up: these images have no labels; leave it out"
        only_names = isinstance(label, str) and self._are_numbers and not label.startswith("index:")
        wanted = "one of the names" if only_names else f"a name or an index from 0 to {len(self) - 1}"
        return f"label should be {wanted}, found {shown}; {self._hint(label)}"

    def _hint(self, label: Label) -> str:
        """Returns the names that a user probably meant."""
        # Case is ignored here only: as a label, "horse" is not "Horse", but it was probably meant.
        near = get_close_matches(str(label).casefold(), [name.casefold() for name in self.names], n=3)
        found = [name for name in self.names if name.casefold() in near] if isinstance(label, str) else []
        if found:
            return "did you mean " + " or ".join(repr(name) for name in found) + "?"
        if self._are_numbers:
            return f"names are {listed(self.names)}; 'index:0' is the label {self.names[0]!r}"
        return f"names are {listed(self.names)}"

    @property
    def _are_numbers(self) -> bool:
        return all(_NUMBER.fullmatch(name) is not None for name in self.names)


def listed_labels(labels: Any) -> list[Any]:
    """Returns the labels of a request one by one. They are not looked up yet.

    Raises:
        DataError: The labels are in no order, as those of a set, or are bytes.
    """
    # A name can be iterated, but is one label. An array without dimensions is one label too, and has no items.
    if isinstance(labels, str) or not isinstance(labels, Iterable) or getattr(labels, "shape", None) == ():
        return [labels]
    return as_items("labels", labels, "names or indices, in an order")
