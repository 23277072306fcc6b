import json
from pathlib import Path

import pytest

from vqgen.data.exclusions import Exclusion, read_exclusions, write_exclusions
from vqgen.errors import CheckpointError

LISTED = {"cat/\udcff.png": Exclusion("ab" * 32, "cannot read it"), "dog/link.png": Exclusion(None, "No such file")}


def test_list_of_a_run_comes_back(tmp_path: Path) -> None:
    assert read_exclusions(tmp_path) == {}
    write_exclusions(tmp_path, LISTED)
    assert read_exclusions(tmp_path) == LISTED


def test_list_that_is_the_same_is_not_written_again_and_an_empty_one_is_no_file(tmp_path: Path) -> None:
    write_exclusions(tmp_path, LISTED)
    before = (tmp_path / "unreadable.json").stat().st_ino
    write_exclusions(tmp_path, LISTED)
    assert (tmp_path / "unreadable.json").stat().st_ino == before
    for _ in range(2):
        write_exclusions(tmp_path, {})
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "images", [None, [], {"a": 1}, {"a": {}}, {"a": {"sha256": 3, "reason": ""}}, {"a": {"reason": ""}}]
)
def test_damaged_list_is_refused_by_name(tmp_path: Path, images: object) -> None:
    (tmp_path / "unreadable.json").write_text(json.dumps({"images": images}))
    with pytest.raises(CheckpointError, match=r"unreadable\.json: is not a list of unreadable images; restore it"):
        read_exclusions(tmp_path)
