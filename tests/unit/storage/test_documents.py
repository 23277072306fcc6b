import pytest

from vqgen.errors import CheckpointError
from vqgen.storage.documents import FORMAT_VERSION, check_format, read_json
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
        (b"\xff", "is not a JSON file"),
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
