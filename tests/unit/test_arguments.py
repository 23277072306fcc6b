import array
import json
import mmap
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from vqgen.arguments import (
    as_bytes,
    as_count,
    as_flag,
    as_function,
    as_index,
    as_instance,
    as_items,
    as_number,
    as_numbers,
    as_path,
    as_seed,
    as_text,
    found_text,
    is_bytes,
)
from vqgen.errors import ConfigError, DataError

FIVES = [
    5, np.int8(5), np.uint64(5), np.int64(5), np.array(5), torch.tensor(5), torch.tensor(5, dtype=torch.uint8),
]  # fmt: skip
NO_INTEGERS = [
    5.0, np.float32(5), torch.tensor(5.0), "5", "", np.str_("5"), b"5", True, np.True_, torch.tensor(True), None,
    [5], (5,), np.array([5]), torch.tensor([5]), {}, {5}, object(), int, 5j, float("nan"), float("inf"), Decimal(5),
    Fraction(5), Path("5"), torch.empty((), dtype=torch.int64, device="meta"),
]  # fmt: skip


@pytest.mark.parametrize("value", FIVES)
def test_integers_of_all_libraries_are_one_integer(value: object) -> None:
    for found in (as_index("n", value), as_count("n", value), as_seed("n", value), as_number("n", value)):
        assert type(found) is int
        assert json.dumps(found) == "5"


@pytest.mark.parametrize("value", NO_INTEGERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("check", [as_index, as_count, as_seed])
def test_what_is_no_integer_is_refused_by_name(check: Callable[[str, object], int], value: object) -> None:
    if check is as_seed and str(value) in ("True", "tensor(True)"):
        assert as_seed("seed", value) == 1  # equal values are one seed
        return
    with pytest.raises(ConfigError, match=r"^seed: should be a whole number.*, found ") as caught:
        check("seed", value)
    assert "\n" not in str(caught.value)


def test_count_has_a_smallest_number() -> None:
    assert as_count("n", 3, least=3) == 3
    with pytest.raises(ConfigError, match=r"^n: should be at least 4 \(the ends\), found 3$"):
        as_count("n", 3, least=4, note=" (the ends)")


def test_seed_is_never_negative_and_has_a_bound() -> None:
    assert as_seed("seed", 2**1024 - 1) == 2**1024 - 1
    for wrong in (-1, np.int64(-1), torch.tensor(-1)):
        with pytest.raises(ConfigError, match=r"^seed: should be at least 0, found -1$"):
            as_seed("seed", wrong)
    for bits in (1025, 20_000):  # Python refuses to write the digits of the second one
        with pytest.raises(
            ConfigError, match=rf"^seed: should be below 2\*\*1024, found a whole number of {bits} bits$"
        ):
            as_seed("seed", 2 ** (bits - 1))


def test_numbers_are_plain_and_finite() -> None:
    found = [
        as_number("x", value) for value in (1, 0.5, np.float32(0.5), torch.tensor(0.5), Fraction(1, 2), np.int8(2))
    ]
    assert found == [1, 0.5, 0.5, 0.5, 0.5, 2]
    assert [type(value) for value in found] == [int, float, float, float, float, int]
    for wrong in ("1", None, True, float("nan"), float("-inf"), np.float64("nan"), 1j, [], [1], 10**400, object()):
        with pytest.raises(ConfigError, match=r"^x: should be a finite number, found "):
            as_number("x", wrong)


def test_rows_of_numbers_become_tuples() -> None:
    for row in ([1, 0.5], (1, 0.5), np.array([1, 0.5]), torch.tensor([1, 0.5]), (x for x in (1, 0.5))):
        assert as_numbers("x", row) == (1, 0.5)
    assert as_numbers("x", np.float64(2)) == 2
    assert as_numbers("x", torch.tensor(2)) == 2
    assert as_numbers("x", []) == ()
    for wrong in ("12", {1: 2}, {1, 2}, ["1"], [None], [[1]], [float("nan")], b"12", None):
        with pytest.raises(ConfigError, match=r"^x: should be a finite number, found "):
            as_numbers("x", wrong)


def test_flags_words_functions_and_objects_have_their_types() -> None:
    assert as_flag("f", np.True_) is True
    assert type(as_text("t", np.str_("a"))) is str
    assert as_function("g", len) is len
    assert as_instance("p", Path("a"), Path) == Path("a")
    for call, match in [
        (lambda: as_flag("f", 1), r"f: should be True or False, found 1 \(int\)"),
        (lambda: as_flag("f", "yes"), r"f: should be True or False, found 'yes' \(str\)"),
        (lambda: as_text("t", ""), r"t: should be a string, found '' \(str\)"),
        (lambda: as_text("t", 3, "a name"), r"t: should be a name, found 3 \(int\)"),
        (lambda: as_function("g", 3), r"g: should be a function, found 3 \(int\)"),
        (lambda: as_instance("p", "a", Path), r"p: should be a Path, found 'a' \(str\)"),
        (lambda: as_instance("p", None, Path, "a folder"), r"p: should be a folder, found None"),
    ]:
        with pytest.raises(ConfigError, match=f"^{match}$"):
            call()
    with pytest.raises(DataError):
        as_instance("p", None, Path, error=DataError)


def test_paths_are_strings_or_paths() -> None:
    assert as_path("p", "a/b") == as_path("p", Path("a/b")) == as_path("p", np.str_("a/b")) == Path("a/b")
    for wrong in ("", b"a", 3, None, [], "a\0b", Path("a\0b"), object()):
        with pytest.raises(ConfigError, match=r"^p: should be a folder \(a string or a Path\), found "):
            as_path("p", wrong, "a folder")


def test_items_are_those_of_an_object_with_an_order() -> None:
    for row in (
        [1, 2],
        (1, 2),
        range(1, 3),
        (n for n in (1, 2)),
        np.array([1, 2]),
        {1: 0, 2: 0}.keys() | [],
        iter([1, 2]),
    ):
        if isinstance(row, set):  # the union of the keys
            continue
        assert [int(item) for item in as_items("i", row, "numbers")] == [1, 2]
    for wrong in (None, 3, "12", b"12", bytearray(2), {1, 2}, {1: 2}, np.array(1), torch.tensor(1), object()):
        with pytest.raises(DataError, match=r"^i: should be numbers, found "):
            as_items("i", wrong, "numbers")


def test_objects_with_bytes_are_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x00\xffabc")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = b"\x00\xffabc"
        flat = np.frombuffer(data, dtype=np.uint8)
        wide = np.repeat(flat, 2)[::2]  # not contiguous
        for value in (data, bytearray(data), memoryview(data), memoryview(bytearray(data * 2))[:5], mapped, flat, wide):
            assert is_bytes(value)
            assert as_bytes("file", value) == data
        assert as_bytes("file", torch.tensor(list(data), dtype=torch.uint8)) == data


def test_other_objects_are_no_bytes() -> None:
    wrong = ["abc", None, 3, [0, 255], array.array("b", [1]), np.zeros(3), np.zeros((2, 2), np.uint8), object()]
    for value in wrong:
        assert not is_bytes(value)
        with pytest.raises(DataError, match=r"^file: should be bytes, found "):
            as_bytes("file", value)
    for path in ("a.vqg", Path("a.vqg")):
        with pytest.raises(DataError, match=r"found .*a\.vqg'.*; Path\(\.\.\.\)\.read_bytes\(\) reads a file"):
            as_bytes("file", path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (5.0, "5.0 (float)"),
        (np.float32(0.5), "0.5 (float32)"),
        (True, "True (bool)"),
        (Path("a/b"), "the path 'a/b'"),
        ("x" * 100, f"'{60 * 'x'}…' (str)"),
        ([1, 2], "a list of length 2"),
        (np.zeros((2, 3)), "an ndarray of float64, shape (2, 3)"),
        (torch.zeros(1, 2), "a Tensor of float32, shape (1, 2)"),
        (int, "the class int"),
        (object(), "an object"),
    ],
)
def test_value_found_is_described_in_a_few_words(value: object, text: str) -> None:
    assert found_text(value) == text
