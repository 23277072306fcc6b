import os
import stat
import tempfile
from pathlib import Path

import pytest

from vqgen.errors import ConfigError, VQGenWarning
from vqgen.storage import refusals
from vqgen.storage.home import cache_folder, expanded, has_home, private_folder, provide_home


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """A user with neither HOME nor an entry in the list of users, and a temporary folder of the test."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(refusals, "_warned", set())
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user with a home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(os.path, "expanduser", lambda path: path.replace("~", str(folder)))
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_user_without_a_home_gets_a_temporary_one_and_a_word(tmp_path):
    assert not has_home()
    with pytest.warns(VQGenWarning, match=r"HOME: this user has no home folder, so .* go to .*/tmp/vqgen-"):
        provide_home()
    assert Path(os.environ["HOME"]).parent == tmp_path / "tmp"


def test_home_of_a_user_stays(user):
    provide_home()
    assert os.environ["HOME"] == str(user)
    assert expanded("~/photos") == user / "photos"
    assert expanded(Path("/a")) == Path("/a")


@pytest.mark.parametrize("is_allowed", [True, False])
def test_home_that_is_not_there_counts_if_it_can_be_made(user, monkeypatch, is_allowed):
    user.rmdir()
    monkeypatch.setattr(os, "access", lambda path, mode: is_allowed)
    assert has_home() is is_allowed


def test_empty_home_is_none(user, monkeypatch):
    monkeypatch.setenv("HOME", "")
    assert not has_home()


def test_path_below_a_missing_home_is_refused():
    with pytest.raises(ConfigError, match="~/photos: '~' stands for a home folder, found none; write the path in full"):
        expanded("~/photos")


def test_cache_is_that_of_the_user(user, tmp_path, monkeypatch):
    assert cache_folder() == user / ".cache" / "vqgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "vqgen"
    assert cache_folder().is_dir()


def test_cache_that_cannot_be_written_is_a_private_temporary_folder(user, tmp_path):
    (user / ".cache").write_text("a file")
    assert cache_folder() == private_folder()
    assert private_folder().parent == tmp_path / "tmp"


def test_temporary_folder_is_private_and_the_same_each_time():
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder() == folder


def test_temporary_folder_that_others_may_write_to_is_not_taken(tmp_path):
    folder = private_folder()
    folder.chmod(0o777)
    other = private_folder()
    assert other != folder
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert private_folder() not in (folder, other)
    folder.unlink()
    folder.write_text("a file")
    assert private_folder().is_dir()


def test_temporary_folder_of_another_user_is_not_taken(monkeypatch):
    folder = private_folder()
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    (folder.parent / f"vqgen-{real + 1}").mkdir(mode=0o700)
    assert private_folder().name.startswith("vqgen-")
    assert private_folder() != folder.parent / f"vqgen-{real + 1}"
