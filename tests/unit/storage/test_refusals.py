import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from vqgen.errors import VQGenWarning
from vqgen.storage import refusals
from vqgen.storage.files import atomic_path, write_text
from vqgen.storage.refusals import copy_folder, flush_file, move, remove, share_file, warn_once


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch):
    monkeypatch.setattr(refusals, "_warned", set())


def refusing(number):
    def refuse(*words, **options):
        raise OSError(number, os.strerror(number))

    return refuse


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_second_warning_of_a_kind_is_silent():
    with pytest.warns(VQGenWarning) as warned:
        for kind in ("lock", "mode", "lock"):
            warn_once(kind, kind)
    assert [str(each.message) for each in warned] == ["lock", "mode"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP])
def test_refused_flush_costs_one_warning(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", refusing(number))
    with pytest.warns(VQGenWarning, match=f"{tmp_path}: the file system refuses to flush") as warned:
        for name in ("a", "b"):
            write_text(tmp_path / name, name)
    assert len(warned) == 1
    assert names(tmp_path) == ["a", "b"]


def test_warning_of_a_file_in_a_temporary_folder_names_the_lasting_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    with pytest.warns(VQGenWarning, match=f"^{tmp_path}: "), atomic_path(tmp_path / "folder") as temporary:
        write_text(temporary / "a", "a")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_failed_flush_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch, number):
    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", refusing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_flush_needs_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows answers EBADF to any other."""
    import fcntl

    modes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & 3))
    (tmp_path / "a").touch()
    flush_file(tmp_path / "a")
    assert modes == [os.O_RDWR]
    (tmp_path / "a").chmod(0o444)
    flush_file(tmp_path / "a")  # a user who is not root may only read it


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EROFS])
def test_refused_mode_costs_one_warning(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "chmod", refusing(number))
    with pytest.warns(VQGenWarning, match="refuses to change permissions") as warned:
        for name in ("a", "b"):
            with atomic_path(tmp_path / name) as temporary:
                temporary.touch(mode=0o600)
    assert len(warned) == 1
    assert names(tmp_path) == ["a", "b"]


def test_file_that_is_shared_already_needs_no_mode(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "chmod", refusing(errno.EPERM))
    write_text(tmp_path / "a", "a")
    assert (tmp_path / "a").read_text() == "a"


def test_private_file_gets_the_mode_of_a_new_one_and_the_mask_stays(tmp_path):
    before = os.umask(0o027)
    try:
        (tmp_path / "a").touch(mode=0o600)
        share_file(tmp_path / "a")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EBUSY, errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("is_folder", [False, True])
def test_refused_rename_becomes_a_copy_with_one_warning(tmp_path, monkeypatch, number, is_folder):
    def write(text: str) -> None:
        with atomic_path(tmp_path / "a") as temporary:
            if is_folder:
                (temporary / "b").mkdir(parents=True)
            (temporary / "b" / "c" if is_folder else temporary).write_text(text)

    write("old")
    monkeypatch.setattr(os, "replace", refusing(number))
    with pytest.warns(VQGenWarning, match="refuses to rename") as warned:
        write("new")
        write("newer")
    assert len(warned) == 1
    assert (tmp_path / "a" / "b" / "c" if is_folder else tmp_path / "a").read_text() == "newer"
    assert names(tmp_path) == ["a"]


def test_rename_that_the_copy_does_not_mend_is_the_error(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "replace", refusing(errno.EPERM))
    monkeypatch.setattr(shutil, "copyfile", refusing(errno.EACCES))
    with pytest.raises(PermissionError, match="Operation not permitted"):
        move(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["a"]
    monkeypatch.setattr(os, "replace", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        move(tmp_path / "a", tmp_path / "b")


def test_file_that_is_open_elsewhere_on_windows_is_waited_for(tmp_path, monkeypatch):
    real = os.replace
    answers = [PermissionError(errno.EACCES, "Access is denied")] * 3

    def busy(source, target):
        if answers:
            raise answers.pop()
        real(source, target)

    monkeypatch.setattr(refusals, "_IS_WINDOWS", True)
    monkeypatch.setattr(refusals, "_SECONDS_BETWEEN_TRIES", 0)
    monkeypatch.setattr(os, "replace", busy)
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    answers[:] = [PermissionError(errno.EACCES, "Access is denied")] * 100
    with pytest.raises(PermissionError, match=r"is open in another program, which has to close it first: '.*/a'"):
        write_text(tmp_path / "a", "newer")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_copied_folder_has_the_same_files(tmp_path):
    (tmp_path / "from" / "b").mkdir(parents=True)
    (tmp_path / "from" / "a").write_text("1")
    (tmp_path / "from" / "b" / "c").write_text("2")
    copy_folder(tmp_path / "from", tmp_path / "new" / "to", shutil.copyfile)
    assert (tmp_path / "new" / "to" / "a").read_text() == "1"
    assert (tmp_path / "new" / "to" / "b" / "c").read_text() == "2"
    remove(tmp_path / "new")
    remove(tmp_path / "new")
    assert names(tmp_path) == ["from"]


def test_removing_a_link_keeps_the_folder_behind_it(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    remove(tmp_path / "link")
    assert names(tmp_path) == ["disk"]
