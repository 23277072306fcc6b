import json
import os
import tomllib
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from vqgen.storage.files import write_json
from vqgen.storage.names import (
    comparable,
    counted,
    folder_names,
    for_toml,
    from_toml,
    json_text,
    key_on_disk,
    listed,
    shown,
    shown_lines,
    stays_inside,
)

LATIN = os.fsdecode(b"ni\xf1o")
ODD = [
    LATIN, os.fsdecode(b"\xff"), unicodedata.normalize("NFD", "한국"), "a\nb\tc", "\x1b[31mred", "\u202egnp.exe",
    "\"quoted\" 'too'", "[a]{b}", "--seed", "\\udcf1", "é" * 127, "😀", " ", "\x7f", "a\\",
]  # fmt: skip

bytes_as_names = st.binary(min_size=1, max_size=40).map(lambda b: os.fsdecode(b.replace(b"\0", b"_")))


@pytest.mark.parametrize("name", ODD)
def test_odd_name_comes_back_from_json_and_toml(name: str, tmp_path) -> None:
    write_json(tmp_path / "a.json", {"names": [name], name: 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"names": [name], name: 1}
    text = tomli_w.dumps(for_toml({"root": name, "more": {"list": [name]}}))
    assert from_toml(tomllib.loads(text.encode().decode())) == {"root": name, "more": {"list": [name]}}


@settings(max_examples=200, deadline=None)
@given(bytes_as_names)
def test_any_bytes_come_back_and_are_shown_in_ascii_or_print(name: str) -> None:
    assert json.loads(json_text(json.dumps(name, ensure_ascii=False)).encode()) == name
    text = tomli_w.dumps(for_toml({"name": name}))
    assert from_toml(tomllib.loads(text.encode().decode()))["name"] == name
    shown(name).encode()


def test_document_without_surrogates_keeps_its_bytes() -> None:
    text = json.dumps({"name": "élève 한국 😀\n"}, ensure_ascii=False)
    assert json_text(text) == text
    assert for_toml({"a": ["é", 1, None]}) == {"a": ["é", 1, None]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("élève", "élève"),
        (LATIN, "ni\\udcf1o"),
        ("a\nb\t", "a\\nb\\t"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("it's", "it's"),
        ("日\u3000本", "日\u3000本"),
    ],
)
def test_sign_that_is_not_printed_is_shown_as_an_escape(name: str, expected: str) -> None:
    assert shown(name) == expected


def test_text_keeps_its_lines_and_no_command_of_a_terminal() -> None:
    assert shown_lines("a\n\x1b[2Jb") == "a\n\\x1b[2Jb"


def test_list_of_names_is_cut_and_counts_the_rest() -> None:
    assert listed(["a", LATIN]) == "'a', 'ni\\udcf1o'"
    assert listed(list("abcd"), most=2) == "'a', 'b' and 2 more"


def test_forms_of_one_name_are_comparable_and_other_names_are_not() -> None:
    assert comparable(unicodedata.normalize("NFD", "élève")) == comparable("élève")
    assert comparable("Élève") != comparable("élève")
    assert comparable(LATIN) == LATIN


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # names of their own, as they always were
        (["cat", "l, r", "-", "--seed", "x.y z", "日本"], ["cat", "l_ r", "-", "--seed", "x.y z", "日本"]),
        (["a/b", "a:b", "c"], ["a_b_0", "a_b_1", "c"]),
        (["cat", "a/b", "..", "unlabelled"], ["cat", "a_b", "__2", "unlabelled_3"]),
        # names of vqgen's own files, in any case
        (["grid.png", "Samples.JSON", "stage.json"], ["grid.png_0", "Samples.JSON_1", "stage.json_2"]),
        ([".", "_", "+"], ["__0", "__1", "__2"]),
        (["con", "Nul.txt", "console", "LPT1"], ["con_0", "Nul.txt_1", "console", "LPT1_3"]),
        (["A", "a", "b"], ["A_0", "a_1", "b"]),
        (["grid", "grid.", "grid "], ["grid_0", "grid_1", "grid_2"]),
        (["a", "A", "a_0", "A_1_"], ["a_0_", "A_1", "a_0", "A_1_"]),
        ([unicodedata.normalize("NFD", "élève"), "x"], ["élève", "x"]),
        ([LATIN, "a\nb", "हिन्दी"], ["ni_o", "a_b", "हिन्दी"]),
    ],
)  # fmt: skip
def test_label_has_a_safe_folder_of_its_own(names: list[str], expected: list[str]) -> None:
    assert folder_names(names, ("grid.png", "samples.json", "stage.json", "unlabelled")) == expected


def test_long_label_is_cut_and_keeps_its_index() -> None:
    names = ["x" * 255, "x" * 256 + "a", "é" * 140]
    found = folder_names(names)
    assert found[0] == "x" * 255
    assert found[1] == "x" * 253 + "_1"
    assert found[2] == "é" * 126 + "_2"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(bytes_as_names, st.text("aA_1.é ", max_size=4)), unique=True, max_size=12))
def test_folders_of_any_labels_differ_on_every_file_system(names: list[str]) -> None:
    found = folder_names(names, ("grid.png", "a_1"))
    keys = [comparable(comparable(name).casefold()) for name in found]
    assert len(set(keys)) == len(names)
    assert not {"grid.png", "a_1"} & set(keys)
    for name in found:
        assert 0 < len(name.encode()) <= 255
        assert name == name.strip(". ")
        assert not set(name) & set('/\\:*?"<>|\0\n')


@pytest.mark.parametrize(
    "name", ["a", "a/b.png", "./a", "a//b", " ", "a..b", "...", "C:a", "a\\..\\b", "con", "n" * 300]
)
def test_name_below_a_folder_stays_inside(name: str) -> None:
    assert stays_inside(name, PurePosixPath)


@pytest.mark.parametrize("name", ["", ".", "/", "..", "../a", "a/../../b", "a/..", "/a", "//a", "a\0b"])
def test_name_that_leads_out_does_not_stay_inside(name: str) -> None:
    assert not stays_inside(name, PurePosixPath)
    assert not stays_inside(name, PureWindowsPath)


@pytest.mark.parametrize(
    "name",
    ["C:a", "C:", "C:\\a", "c:/a", "\\a", "..\\a", "\\\\host\\share\\a", "a:stream", "con", "b/NUL.png", "COM1.txt"],
)
def test_drives_streams_and_devices_of_windows_do_not_stay_inside(name: str) -> None:
    assert not stays_inside(name, PureWindowsPath)


def test_names_of_one_file_have_one_key() -> None:
    assert key_on_disk("A/é") == key_on_disk("a/E\u0301")
    assert key_on_disk("a") != key_on_disk("b")


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1,000 images")])
def test_counted_things_have_their_number_and_its_grammar(number: int, text: str) -> None:
    assert counted(number, "image") == text
