import os
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from vqgen.errors import CheckpointError
from vqgen.storage.folder_lock import locked_folder


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
