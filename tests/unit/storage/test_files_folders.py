"""Folders that are replaced, and what kills and failures leave behind."""

import errno
import os
from pathlib import Path

import pytest
from small_folders import Torn, fill, names

from vqgen.storage.files import atomic_path, remove_leftovers


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


@pytest.mark.parametrize("old", [".prior-top.v2.12.old", ".0123456789ab.old/prior-top.v2"])
def test_folder_of_a_kill_between_two_renames_comes_back(tmp_path, old):
    fill(tmp_path / "run" / ".ba9876543210.tmp", a="new")
    fill(tmp_path / "run" / old, a="old")
    remove_leftovers(tmp_path / "run")
    assert (tmp_path / "run" / "prior-top.v2" / "a").read_text() == "old"
    assert names(tmp_path / "run") == ["prior-top.v2"]


@pytest.mark.parametrize("is_mount", [False, True])
def test_folder_that_cannot_be_put_back_is_not_lost(tmp_path, monkeypatch, is_mount):
    target = fill(tmp_path / "run" / "model", a="old")
    monkeypatch.setattr(os.path, "ismount", lambda path: is_mount)
    real = os.replace
    moves = []

    def break_down(source, to):
        moves.append(source)
        if len(moves) > 1:
            raise OSError(errno.EIO, "Input/output error", str(source))
        real(source, to)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", break_down)
        with pytest.raises(OSError, match="Input/output error"), atomic_path(target) as temporary:
            fill(temporary, a="new")
    remove_leftovers(tmp_path / "run")
    assert names(target) == ["a"]
    assert (target / "a").read_text() == "old"
    assert names(tmp_path / "run") == ["model"]


def test_files_of_the_user_with_similar_names_are_no_leftovers(tmp_path):
    mine = [".tmp", ".tmp.txt", ".tmpnotes.md", ".tmpnote", ".notes.tmp", ".notes.tmp.txt", ".a.b.tmp", ".12.tmpx"]
    folder = fill(tmp_path / "run", **dict.fromkeys(mine, "my own notes"))
    fill(folder / ".tmpAbC123", a="a folder of the user")
    (folder / ".tmpAbC124").write_text("a text of the user")
    (folder / ".tmpAbC125").write_bytes(b"\x40\0\0\0\0\0\0\0" + b'{"a":')
    (folder / ".tmpAbC126").write_bytes(bytes(20))  # its place on the disk, before the content
    remove_leftovers(folder)
    assert names(folder) == sorted([*mine, ".tmpAbC123", ".tmpAbC124"])


@pytest.fixture
def volume(tmp_path, monkeypatch):
    """A folder that cannot be renamed, as a volume of a container."""
    target = tmp_path / "volume"
    real = os.replace

    def busy(source, to):
        if Path(source) == target or Path(to) == target:
            raise OSError(errno.EBUSY, "Device or resource busy", str(source))
        real(source, to)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    return target


@pytest.mark.parametrize("old", [{}, {"a": "old", "b": "old"}], ids=["empty", "full"])
def test_content_of_a_mount_point_is_replaced(volume, old):
    fill(volume, **old)
    fill(volume / "part", **old)
    with atomic_path(volume) as temporary:
        assert temporary.parent == volume  # no copy from one file system to another
        fill(temporary, a="new", c="new")
        fill(temporary / "other", d="new")
        assert (volume / "a").exists() == bool(old)
    assert names(volume) == ["a", "c", "other"]
    assert (volume / "a").read_text() == "new"


@pytest.mark.parametrize("failing", ["a", "b", "c", "part", "other"])
def test_mount_point_keeps_its_content_if_the_replacement_fails(volume, monkeypatch, failing):
    fill(volume, a="old", b="old")
    fill(volume / "part", p="old")
    real = os.replace
    failed = []

    def full(source, to):
        if Path(source).name == failing and not failed:
            failed.append(source)
            raise OSError(errno.EIO, "Input/output error", str(source))
        real(source, to)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="Input/output error"), atomic_path(volume) as temporary:
        fill(temporary, a="new", c="new")
        fill(temporary / "other", d="new")
    assert names(volume) == ["a", "b", "part"]
    assert [(volume / name).read_text() for name in ("a", "b", "part/p")] == ["old"] * 3


def test_failed_write_leaves_a_mount_point_as_it_was(volume):
    fill(volume, a="old")
    with pytest.raises(Torn), atomic_path(volume) as temporary:
        fill(temporary, a="new")
        raise Torn
    assert names(volume) == ["a"]
    assert (volume / "a").read_text() == "old"


def test_mount_point_of_a_kill_gets_its_content_back(volume):
    fill(volume / ".0123456789ab.old", a="old", b="old")
    fill(volume / ".ba9876543210.tmp", a="new")
    remove_leftovers(volume)
    assert names(volume) == ["a", "b"]


def test_folder_whose_replacement_fails_is_put_back(tmp_path, monkeypatch):
    target = fill(tmp_path / "model", a="old")
    real = os.replace

    def full(source, to):
        if ".tmp" in Path(source).name:
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        real(source, to)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/model'"), atomic_path(target) as temporary:
        fill(temporary, a="new")
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]
