from pathlib import Path

import pytest

import vqgen
from vqgen.errors import CheckpointError, ConfigError
from vqgen.storage.documents import (
    DEEPEST,
    FORMAT_VERSION,
    check_format,
    parse_json,
    read_json,
    read_text,
    read_toml,
)
from vqgen.storage.files import write_json


def test_document_round_trip(tmp_path):
    document = {"format_version": FORMAT_VERSION, "ä": [1, 2.5, None]}
    write_json(tmp_path / "a.json", document)
    found = read_json(tmp_path / "a.json")
    assert found == document
    check_format(found, tmp_path / "a.json")


def test_missing_document_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.json: there is no such file"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", r"is not a JSON file .*restore it or make it again"),
        (b"\xff", r"should be a text in UTF-8, found another encoding .*restore it or make it again"),
        (b"", "is not a JSON file"),
        (b"[]", "should contain a JSON object, found a list"),
        (b"null", "should contain a JSON object, found a NoneType"),
    ],
)
def test_file_that_is_not_a_json_object_is_refused(tmp_path, content, match):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.json: {match}"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, str(FORMAT_VERSION), None])
def test_document_of_another_version_is_refused(tmp_path, version):
    match = rf"a\.json: should have format_version {FORMAT_VERSION}, found {version}; use the vqgen that wrote it"
    with pytest.raises(CheckpointError, match=match):
        check_format({"format_version": version}, tmp_path / "a.json")


def test_document_without_a_version_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="found None"):
        check_format({}, tmp_path / "a.json")


DAMAGED = {
    "a byte of zero": b"\x00",
    "letters of Latin-1": 'name = "caf\xe9"'.encode("latin-1"),
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "nested 100,000 times": b"[" * 100_000 + b"]" * 100_000,
    "nested a little too deeply": b'{"a": ' * DEEPEST + b"[]" + b"}" * DEEPEST,
    "cut": b'{"a": [1, 2',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_json_is_refused_in_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.json: .*; write it again$") as caught:
        read_json(tmp_path / "a.json", error=ConfigError, remedy="write it again")
    assert "\n" not in str(caught.value)


TOML = {
    "letters of Latin-1": 'name = "caf\xe9"'.encode("latin-1"),
    "a number of 5,000 digits": b"a = " + b"9" * 5000,
    "a hexadecimal number of 5,000 digits": b"a = 0x" + b"f" * 5000,
    "nested 100,000 times": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "cut": b'a = "b',
}


@pytest.mark.parametrize("content", TOML.values(), ids=TOML.keys())
def test_damaged_toml_is_refused_in_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.toml: .*; restore it or make it again$") as caught:
        read_toml(tmp_path / "a.toml")
    assert "\n" not in str(caught.value)


def test_toml_is_read(tmp_path):
    (tmp_path / "a.toml").write_text('[data]\nsource = "ä"\n', encoding="utf-8")
    assert read_toml(tmp_path / "a.toml") == {"data": {"source": "ä"}}


def test_text_is_read_and_another_encoding_is_refused(tmp_path):
    (tmp_path / "card.md").write_text("# ä\n", encoding="utf-8")
    assert read_text(tmp_path / "card.md") == "# ä\n"
    (tmp_path / "card.md").write_text("# ä\n", encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"card\.md: should be a text in UTF-8, .*at byte 2\); restore it"):
        read_text(tmp_path / "card.md")


def test_value_that_is_not_an_object_is_parsed():
    assert parse_json("[1, [2]]", "a") == [1, [2]]


def test_no_other_module_parses_json_or_toml():
    root = Path(vqgen.__file__).parent
    sources = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    parsers = [
        name for name, text in sources.items() if "json.load" in text.replace("`json.load", "") or "tomllib." in text
    ]
    assert set(parsers) <= {"storage/documents.py", "storage/names.py"}  # the latter names it in its docstring
