"""Labels and their names, in the order of their indices."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import SupportsIndex

from vqgen.errors import DataError
from vqgen.storage.names import comparable, listed

Label = str | SupportsIndex
"""A label: a name, or an index as an integer (of Python, NumPy or torch) or in digits."""


@dataclass(frozen=True)
class LabelMap:
    """A map from names of labels to indices 0, 1, ... and back.

    Attributes:
        names: One name per label, all different. Empty for images or a model without labels.
    """

    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"names of labels should all be different, found more than once: {repeated}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, label: Label) -> int:
        """Looks up one label.

        Args:
            label: A name, in any Unicode form, or an index as a number or in digits. A name goes first. If all names
                are whole numbers, digits are always a name: with the names "0", "10" and "20", the string "10" is the
                label of that name, the number 10 is out of range, and the string "2" is unknown.

        Returns:
            The index, in [0, len(self)).

        Raises:
            DataError: There is no such name or index.
        """
        if isinstance(label, str):
            found = self.find(label)
            if found is not None:
                return found
            # The labels 10, 20 and 30 of ages: "2" is a slip of the pen, and not the third of them.
            if not label.isdecimal() or self._are_numbers:
                raise DataError(self._unknown(label))
            index = int(label)
        else:
            try:
                index = operator.index(label)  # refuses a float, which `int` would cut
            except TypeError:
                raise DataError(f"a label should be a name or an index, found {label!r}") from None
        if not 0 <= index < len(self):
            raise DataError(self._unknown(label))
        return index

    def find(self, name: str) -> int | None:
        """Returns the index of a name; None if no label has it.

        The same letters in another Unicode form are the same name: macOS takes an accent apart, and a keyboard does
        not. A name that is equal sign by sign goes first.
        """
        if name in self.names:
            return self.names.index(name)
        wanted = comparable(name)
        alike = [index for index, known in enumerate(self.names) if comparable(known) == wanted]
        return alike[0] if len(alike) == 1 else None

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
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            return [self.index(labels)]
        return [self.index(label) for label in labels]

    def _unknown(self, label: Label) -> str:
        if not self.names:
            return f"label {label!r} cannot be looked up: these images have no labels; leave it out"
        # Case is ignored here only: as a label, "horse" is not "Horse", but it was probably meant.
        near = get_close_matches(str(label).casefold(), [name.casefold() for name in self.names], n=3)
        found = [name for name in self.names if name.casefold() in near] if isinstance(label, str) else []
        if found:
            hint = "did you mean " + " or ".join(repr(name) for name in found) + "?"
        else:
            hint = f"names are {listed(self.names)}"
        only_names = isinstance(label, str) and self._are_numbers
        wanted = "one of the names" if only_names else f"a name or an index from 0 to {len(self) - 1}"
        return f"label should be {wanted}, found {label!r}; {hint}"

    @property
    def _are_numbers(self) -> bool:
        return all(name.isdecimal() for name in self.names)
