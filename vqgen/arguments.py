"""Checks of the values that a program hands to vqgen: whole numbers, numbers, words, paths, functions, bytes.

Each function takes the name of a parameter and its value. It returns the value as a plain object of Python, which goes
into JSON, or raises an error of one line that names the parameter, the requirement and the value found.

A number of NumPy or torch counts as the number of Python that it holds. A boolean is no number (but a seed: 0 or 1), a
float is no whole number (5.0 neither), and a string is neither. Wrong pictures, labels, codes and files raise a
`DataError`; every other wrong value raises a `ConfigError`.

This module imports no torch.
"""

import math
import mmap
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from io import TextIOBase
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypeVar

from vqgen.errors import ConfigError, DataError, VQGenError

Kind = TypeVar("Kind")

_SEED_BITS = 1024
"""Bits of a seed, at most. A seed is hashed by its digits, and Python refuses to write thousands of them."""

_MOST = 2**63 - 1
"""The largest count: NumPy and torch hold no larger one."""

_SHOWN = 60
"""Letters of a string in a message, at most."""

_BUFFERS = (bytes, bytearray, memoryview, mmap.mmap)
"""Objects of Python that hold bytes."""


def found_text(value: object) -> str:
    """Describes a value of a wrong type: `5.0 (float)`, `the path 'a.png'`, `an ndarray of float64, shape (2, 3)`."""
    kind = type(value).__name__
    if value is None or isinstance(value, type):
        return "None" if value is None else f"the class {kind if value is type else value.__name__}"
    if isinstance(value, str):
        return f"{_shortened(value)!r} ({kind})"
    if isinstance(value, os.PathLike):
        return f"the path {_shortened(os.fsdecode(value))!r}"
    plain = _plain(value)
    if isinstance(plain, bool | int | float | complex):
        return f"{_number_text(plain)} ({kind})"
    article = "an" if kind[:1].lower() in "aeiou" or kind == "ndarray" else "a"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        dtype = str(getattr(value, "dtype", "unknown numbers")).removeprefix("torch.")
        return f"{article} {kind} of {dtype}, shape {tuple(shape)}"
    if isinstance(value, Collection):
        return f"{article} {kind} of length {len(value)}"
    return f"{article} {kind}"


def as_index(name: str, value: object, *, error: type[VQGenError] = ConfigError, what: str = "a whole number") -> int:
    """Returns a whole number as an `int`.

    Args:
        name: Name of the parameter, for messages.
        value: An integer of Python, NumPy or torch, or a single one in an array or tensor without dimensions.
        error: The error of another value.
        what: The requirement, for messages.

    Raises:
        ConfigError: The value is a boolean, a float, a string, or another object; or the given `error`.
    """
    plain = _plain(value)
    # A float is refused even if it is whole: it may come from a division that was meant to be one of integers. torch
    # makes an index of a list of one number too.
    if not isinstance(plain, bool | float | str) and getattr(plain, "shape", ()) == ():
        try:
            return int(operator.index(plain))  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            pass
    raise error(f"{name}: should be {what}, found {found_text(value)}")


def as_count(name: str, value: object, *, least: int = 1, most: int | None = _MOST, note: str = "") -> int:
    """Returns a whole number from `least` to `most` as an `int`; errors as in `as_index`.

    Args:
        name: Name of the parameter, for messages.
        value: The number.
        least: The smallest number.
        most: The largest number; None for no limit.
        note: More about the requirement, for messages.

    Raises:
        ConfigError: The value is no whole number, or out of its range.
    """
    number = as_index(name, value, what=f"a whole number of at least {least}{note}")
    if number < least:
        raise ConfigError(f"{name}: should be at least {least}{note}, found {_number_text(number)}")
    if most is not None and number > most:
        raise ConfigError(f"{name}: should be at most {most:,}{note}, found {_number_text(number)}")
    return number


def as_seed(name: str, value: object) -> int:
    """Returns a seed as an `int` in [0, 2**1024). There is no number that stands for "any seed".

    Equal values are one seed. So True, which is equal to 1, is the seed 1, as it is elsewhere in Python.

    Raises:
        ConfigError: The value is no whole number, or is out of this range.
    """
    plain = _plain(value)
    number = as_count(name, int(plain) if isinstance(plain, bool) else value, least=0, most=None)
    if number.bit_length() > _SEED_BITS:
        raise ConfigError(f"{name}: should be below 2**{_SEED_BITS}, found {_number_text(number)}")
    return number


def as_number(name: str, value: object) -> int | float:
    """Returns a finite number as an `int` or a `float`.

    Raises:
        ConfigError: The value is no number, or is infinite or not a number.
    """
    plain = _plain(value)
    if isinstance(plain, Real) and not isinstance(plain, bool):
        try:
            rounded = float(plain)
        except OverflowError:  # an integer of more than 308 digits
            rounded = math.inf
        if math.isfinite(rounded):
            return int(plain) if isinstance(plain, int) else rounded
    raise ConfigError(f"{name}: should be a finite number, found {found_text(value)}")


def as_numbers(name: str, value: object) -> int | float | tuple[int | float, ...]:
    """Returns a finite number, or a tuple of them.

    Args:
        name: Name of the parameter, for messages.
        value: A number, or a list, tuple or array of numbers.

    Raises:
        ConfigError: The value is neither.
    """
    if _is_single(value):
        return as_number(name, value)
    return tuple(as_number(name, each) for each in value)  # type: ignore[union-attr]


def as_flag(name: str, value: object) -> bool:
    """Returns True or False.

    Raises:
        ConfigError: The value is something else; 0, 1 and strings too.
    """
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise ConfigError(f"{name}: should be True or False, found {found_text(value)}")
    return plain


def as_text(name: str, value: object, what: str = "a string") -> str:
    """Returns a string that is not empty.

    Raises:
        ConfigError: The value is something else.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name}: should be {what}, found {found_text(value)}")
    return str(value)  # of NumPy's strings too


def as_path(name: str, value: object, what: str = "a path", error: type[VQGenError] = ConfigError) -> Path:
    """Returns a path.

    Args:
        name: Name of the parameter, for messages.
        value: A string that is not empty, or a `Path`.
        what: The requirement, for messages.
        error: The error of another value.

    Raises:
        ConfigError: The value is something else, or contains a character 0; or the given `error`.
    """
    is_path = isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)
    # An empty string would be the folder that the program runs in, which nobody means.
    if not (is_path or (isinstance(value, str) and value)) or "\0" in str(value):
        raise error(f"{name}: should be {what} (a string or a Path), found {found_text(value)}")
    return Path(value)  # type: ignore[arg-type]


def as_function(name: str, value: object) -> Callable[..., Any]:
    """Returns a function, or another object that can be called.

    Raises:
        ConfigError: The value cannot be called.
    """
    if not callable(value):
        raise ConfigError(f"{name}: should be a function, found {found_text(value)}")
    return value


def as_instance(
    name: str, value: object, kind: type[Kind], what: str = "", error: type[VQGenError] = ConfigError
) -> Kind:
    """Returns a value of a class.

    Args:
        name: Name of the parameter, for messages.
        value: The value.
        kind: The class that it should have.
        what: The requirement, for messages; by default the name of the class.
        error: The error of another value.

    Raises:
        ConfigError: The value has another class; or the given `error`.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[:1] in "AEIOU" else "a"
        raise error(f"{name}: should be {what or f'{article} {kind.__name__}'}, found {found_text(value)}")
    return value


def as_binary_file(name: str, value: Any, method: Literal["read", "write"]) -> Any:
    """Returns an open file of bytes, or another object that has the same method.

    Args:
        name: Name of the parameter, for messages.
        value: The file.
        method: The method that will be called.

    Raises:
        DataError: The value is no file, or a file of text.
    """
    if isinstance(value, TextIOBase | type) or not callable(getattr(value, method, None)):
        mode = {"read": "rb", "write": "wb"}[method]
        wanted = "a file that is open for bytes"
        raise DataError(f'{name}: should be {wanted}, found {found_text(value)}; open(PATH, "{mode}") opens one')
    return value


def as_items(name: str, value: object, what: str) -> list[Any]:
    """Returns the items of a list, tuple, range, array, generator, or of another object with an order.

    Args:
        name: Name of the parameter, for messages.
        value: The object.
        what: The requirement, for messages.

    Raises:
        DataError: The value is a single thing, or has no order.
    """
    if _is_single(value):
        raise DataError(f"{name}: should be {what}, found {found_text(value)}")
    return list(value)  # type: ignore[call-overload]


def is_bytes(value: object) -> bool:
    """Returns True for bytes, a bytearray, a memoryview, a memory map, or a flat array of uint8."""
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    return isinstance(value, _BUFFERS) or (dtype == "uint8" and getattr(value, "ndim", 0) == 1)


def as_bytes(name: str, value: object) -> bytes:
    """Returns bytes.

    Args:
        name: Name of the parameter, for messages.
        value: As in `is_bytes`.

    Raises:
        DataError: The value is something else, for instance a path.
    """
    if not is_bytes(value):
        remedy = "; Path(...).read_bytes() reads a file" if isinstance(value, str | os.PathLike) else ""
        raise DataError(f"{name}: should be bytes, found {found_text(value)}{remedy}")
    if isinstance(value, bytes):
        return value
    # An array has its own method; a memory map and the others are buffers.
    return value.tobytes() if hasattr(value, "tobytes") else bytes(value)  # type: ignore[union-attr,arg-type]


def _is_single(value: object) -> bool:
    """Returns True for a value that is not a row of values: it cannot be iterated, or has no order, or is a text."""
    # torch and NumPy refuse to iterate over an array without dimensions, which is a single number.
    is_scalar = getattr(value, "shape", None) == ()
    return is_scalar or isinstance(value, (str, Mapping, Set, *_BUFFERS)) or not isinstance(value, Iterable)


def _plain(value: object) -> object:
    """Returns the single number in a scalar of NumPy, or in an array or tensor without dimensions, as one of Python."""
    if getattr(value, "shape", None) != () or not hasattr(value, "item"):
        return value
    try:
        return value.item()  # type: ignore[attr-defined]
    except Exception:  # a tensor without values, for instance
        return value


def _number_text(number: complex) -> str:
    # Python refuses to write thousands of digits.
    if isinstance(number, int) and number.bit_length() > 2 * _SHOWN:
        return f"a whole number of {number.bit_length()} bits"
    return str(number)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
