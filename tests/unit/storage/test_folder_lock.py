import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from threading import Timer

import pytest
from filelock import FileLock, Timeout

from vqgen.errors import CheckpointError, VQGenWarning
from vqgen.storage import refusals
from vqgen.storage.folder_lock import clear_part_locks, locked_folder, part_lock


def test_locked_folder_is_refused_to_another_process(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(CheckpointError, match=r"another process .* --run-name"):
        locked_folder(tmp_path).__enter__()


def test_lock_ends_with_the_block(tmp_path):
    (tmp_path / "kept").touch()
    for _ in range(2):
        with locked_folder(tmp_path):
            pass


def test_unused_folder_and_its_new_parents_are_removed(tmp_path):
    with locked_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_used_folder_stays(tmp_path):
    with locked_folder(tmp_path / "a"):
        (tmp_path / "a" / "kept").touch()
    assert (tmp_path / "a" / "kept").exists()


def test_killed_process_frees_the_folder(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom vqgen.storage.folder_lock import locked_folder\n"
        "with locked_folder(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(CheckpointError):
        locked_folder(tmp_path).__enter__()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    time.sleep(0.01)
    with locked_folder(tmp_path):
        pass


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    """A system that refuses to lock files."""
    monkeypatch.setattr(refusals, "_warned", set())

    def refuse(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_folder_on_a_system_without_locks_is_locked_by_a_file(tmp_path, no_locks):
    folder = tmp_path / "new" / "run"
    with pytest.warns(VQGenWarning, match=r"run: the file system refuses to lock files.*\.lock-soft") as warned:
        for _ in range(2):
            with locked_folder(folder):
                assert (folder / ".lock-soft").exists()
                with pytest.raises(CheckpointError, match=r"another process .* or remove .*\.lock-soft"):
                    locked_folder(folder).__enter__()
                with part_lock(folder, "top"), pytest.raises(Timeout), part_lock(folder, "top", patience=0):
                    pass
                clear_part_locks(folder)
                assert {path.name for path in folder.iterdir()} == {".lock", ".lock-soft"}
    assert len(warned) == 1
    assert list(tmp_path.iterdir()) == []


def test_lock_file_of_a_dead_process_is_taken_over(tmp_path, no_locks):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / ".lock-soft").write_text(f"{child.pid}\n{socket.gethostname()}\n")
    with pytest.warns(VQGenWarning, match="refuses to lock"), locked_folder(tmp_path):
        pass


def test_folder_behind_a_link_to_nothing_is_made_and_locked(tmp_path):
    (tmp_path / "run").symlink_to("disk/run")
    with locked_folder(tmp_path / "run"):
        (tmp_path / "disk" / "run" / "kept").touch()
    assert (tmp_path / "run").is_symlink()


def test_folder_that_cannot_be_written_is_an_error_with_the_path(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        locked_folder(tmp_path / "file").__enter__()


def test_parts_of_a_locked_folder_have_locks_of_their_own(tmp_path):
    with locked_folder(tmp_path), part_lock(tmp_path, "prior-top"), part_lock(tmp_path, "prior-bottom"):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".prior-top.lock", ".prior-bottom.lock"}
        with pytest.raises(Timeout), part_lock(tmp_path, "prior-top", patience=0):
            pass


def test_free_locks_of_parts_are_removed_and_the_lock_of_the_folder_stays(tmp_path):
    with part_lock(tmp_path, "prior-top"):
        pass
    (tmp_path / "kept.lock").touch()
    with locked_folder(tmp_path):
        clear_part_locks(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "kept.lock"}


def test_held_lock_of_a_part_is_waited_for(tmp_path):
    held = FileLock(tmp_path / ".prior-top.lock", thread_local=False)
    held.acquire()
    with pytest.raises(
        CheckpointError, match=r"a process of a killed run is still working in it \(\.prior-top\.lock\)"
    ):
        clear_part_locks(tmp_path, patience=0.01)
    Timer(0.1, held.release).start()
    clear_part_locks(tmp_path, patience=60)
    assert list(tmp_path.iterdir()) == []
