import json
import os
import re
import stat
from functools import partial
from pathlib import Path

import pytest

from vqgen.storage.files import (
    atomic_path,
    move_aside,
    remove_leftovers,
    sha256_of_file,
    sha256_of_json,
    write_each,
    write_json,
    write_text,
)


class Torn(Exception):
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "hälf")
    assert target.read_text(encoding="utf-8") == "hälf"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("before", ["old", None])
def test_failed_write_leaves_the_old_file(tmp_path, before):
    target = tmp_path / "a.txt"
    if before is not None:
        target.write_text(before)
    with pytest.raises(Torn), atomic_path(target) as temporary:
        temporary.write_text("half of it")
        assert not target.exists() or target.read_text() == before
        raise Torn
    assert names(tmp_path) == ([] if before is None else ["a.txt"])
    assert before is None or target.read_text() == before


def test_folder_is_replaced_as_a_whole(tmp_path):
    target = fill(tmp_path / "model", a="1", b="2")
    with atomic_path(target) as temporary:
        fill(temporary, c="3")
        assert names(target) == ["a", "b"]
    assert names(target) == ["c"]
    assert names(tmp_path) == ["model"]


def test_failed_write_of_a_folder_leaves_the_old_folder(tmp_path):
    target = fill(tmp_path / "model", a="1")
    with pytest.raises(Torn), atomic_path(target) as temporary:
        fill(temporary, a="2")
        raise Torn
    assert (target / "a").read_text() == "1"
    assert names(tmp_path) == ["model"]


def test_temporary_keeps_the_suffix_and_is_hidden_beside_the_target(tmp_path):
    with atomic_path(tmp_path / "x" / "a.png") as temporary:
        assert temporary.parent == tmp_path / "x"
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        temporary.write_text("")


def test_private_temporary_becomes_a_file_with_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    with atomic_path(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_json_round_trip(tmp_path):
    value = {"ä": [1, 2.5, None, True], "b": {"c": "d"}}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_hashes_are_sha256_and_ignore_the_order_of_keys(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_json({"b": 1, "a": [1]}) == sha256_of_json({"a": [1], "b": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})
    assert re.fullmatch("[0-9a-f]{64}", sha256_of_json(None))


def test_moved_path_takes_the_first_free_name(tmp_path):
    for number in (1, 2):
        fill(tmp_path / "stage", number=str(number))
        assert move_aside(tmp_path / "stage") == tmp_path / f"stage.old-{number}"
    assert names(tmp_path) == ["stage.old-1", "stage.old-2"]
    assert (tmp_path / "stage.old-2" / "number").read_text() == "2"


def test_leftovers_of_kills_are_removed_and_nothing_else(tmp_path):
    folder = fill(tmp_path / "run", **{"recipe.toml": "", ".lock": "", ".recipe.12.tmp.toml": ""})
    fill(folder / "state", **{"training.safetensors": "", ".tmpAbC123": ""})  # a temporary of safetensors
    fill(folder / ".model.12.tmp", **{".model.12.tmp.safetensors": "", "config.json": ""})
    fill(folder / "model", a="new")
    fill(folder / ".model.12.old", a="old")
    remove_leftovers(folder)
    assert names(folder) == [".lock", "model", "recipe.toml", "state"]
    assert names(folder / "state") == ["training.safetensors"]
    assert (folder / "model" / "a").read_text() == "new"


def test_folder_of_a_kill_between_two_renames_comes_back(tmp_path, monkeypatch):
    target = fill(tmp_path / "run" / "prior-top.v2", a="old")
    real = Path.rename

    def killed(path: Path, to: Path) -> Path:
        if ".tmp" in path.name:
            raise Torn
        return real(path, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(Torn), atomic_path(target) as temporary:
            fill(temporary, a="new")
    assert not target.exists()
    remove_leftovers(tmp_path / "run")
    assert (target / "a").read_text() == "old"
    assert names(tmp_path / "run") == ["prior-top.v2"]


def test_unwritable_path_raises_the_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_temporary_of_a_killed_process_with_the_same_id_is_replaced(tmp_path):
    left = tmp_path / f".a.{os.getpid()}.tmp.txt"
    left.mkdir()
    write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == ["a.txt"]


def test_many_files_are_each_all_or_nothing(tmp_path):
    texts = {tmp_path / f"{number % 7}" / f"{number}.txt": str(number) for number in range(100)}
    write_each({target: partial(Path.write_text, data=text) for target, text in texts.items()})
    assert {target: target.read_text() for target in texts} == texts

    def tear(temporary):
        temporary.write_text("half")
        raise Torn

    last = tmp_path / "never" / "last"
    targets = [tmp_path / "0" / "7.txt", *(tmp_path / "more" / str(number) for number in range(2000)), last]
    with pytest.raises(Torn):
        write_each(dict.fromkeys(targets, tear))
    assert (tmp_path / "0" / "7.txt").read_text() == "7"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path not in texts]
    assert not last.parent.exists()
