import json
from pathlib import Path

import pytest

from vqgen.data.content import Contents
from vqgen.data.pictures.extents import Extent
from vqgen.data.verdicts import Verdicts

EXTENTS = {0: Extent("8-bit", 0, 255, (0, 255)), 2: Extent("float32", -0.5, 1e300, None)}


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return Contents(["0" * 64, None, "2" * 64], [1, 0, 3], tmp_path / "folder.json")


def test_verdicts_come_back_for_the_same_bytes_at_any_place(contents: Contents) -> None:
    verdicts = Verdicts(contents, rules=2)
    assert verdicts.known == {}
    verdicts.keep(EXTENTS)
    assert Verdicts(contents, rules=2).known == EXTENTS
    moved = Contents(["2" * 64, "3" * 64], [3, 4], contents.cache)
    assert Verdicts(moved, rules=2).known == {0: EXTENTS[2]}


def test_verdicts_of_other_rules_and_readers_are_not_taken(contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    Verdicts(contents, rules=2).keep(EXTENTS)
    assert Verdicts(contents, rules=1).known == {}
    monkeypatch.setattr("PIL.__version__", "99")
    assert Verdicts(contents, rules=2).known == {}


def test_first_rules_keep_verdicts_without_values(contents: Contents) -> None:
    Verdicts(contents, rules=1).keep({0: None})
    assert Verdicts(contents, rules=1).known == {0: None}


def test_known_verdicts_are_not_written_again(contents: Contents, tmp_path: Path) -> None:
    Verdicts(contents, rules=2).keep(EXTENTS)
    (cache,) = tmp_path.iterdir()
    before = cache.stat().st_ino
    Verdicts(contents, rules=2).keep(EXTENTS)
    assert cache.stat().st_ino == before


def test_set_without_a_cache_keeps_nothing(contents: Contents, tmp_path: Path) -> None:
    Verdicts(Contents(contents.hashes, contents.sizes, None), rules=2).keep(EXTENTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verdict", [None, 1, [], ["8-bit"], ["8-bit", "a", 3, [0, 1]], ["8-bit", 0, 3, [0]], {}])
def test_damaged_verdict_is_made_again(contents: Contents, tmp_path: Path, verdict: object) -> None:
    Verdicts(contents, rules=2).keep(EXTENTS)
    (cache,) = tmp_path.iterdir()
    cache.write_text(json.dumps(json.loads(cache.read_text()) | {"0" * 64: verdict}))
    assert Verdicts(contents, rules=2).known == {2: EXTENTS[2]}
