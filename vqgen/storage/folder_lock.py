"""The lock of a folder. One launch at a time writes to the folder, and a kill frees the lock.

The system locks a file, and frees it with the process. On a file system without locks a lock is the existence of a
second file, which names its process: if the process has ended on this machine, the next one takes its lock over.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from vqgen.errors import CheckpointError
from vqgen.storage.files import make_folder
from vqgen.storage.refusals import REFUSED_LOCKS, warn_once

_LOCK = ".lock"

_SOFT = "-soft"
"""Ending of the file whose existence is a lock. The system's lock leaves its own file behind, which means nothing."""

_PATIENCE = 60.0
"""Seconds to wait for a process that a killed one has left behind: it saves its work at the end of a step."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Locks a folder for this process until the block or the process ends.

    A missing folder is made, with its parents. If it is still empty at the end, they are removed again.

    Args:
        folder: The folder to lock.

    Raises:
        CheckpointError: Another process holds the lock.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = _acquire(folder)
    try:
        yield
    finally:
        _remove_if_unused(folder, made)
        lock.release()


@contextmanager
def part_lock(folder: Path, part: str, patience: float = -1) -> Iterator[None]:
    """Locks a part of a locked folder, for the processes that work for the holder of the folder's lock.

    The file of the lock stays until `clear_part_locks`.

    Args:
        folder: The folder.
        part: A name.
        patience: Seconds to wait for another holder; -1 waits for ever.

    Raises:
        TimeoutError: Another process holds the lock for longer.
    """
    lock = _locked_file(folder / f".{part}{_LOCK}", patience)
    try:
        yield
    finally:
        lock.release()


def clear_part_locks(folder: Path, patience: float = _PATIENCE) -> None:
    """Waits for the processes that hold locks of parts, which a killed process may have left, and removes the locks.

    Args:
        folder: The folder. The caller holds its lock, so that no other process takes the lock of a part from now on.
        patience: Seconds to wait for each lock.

    Raises:
        CheckpointError: A process holds its lock for longer.
    """
    while paths := [*folder.glob(f".*{_LOCK}"), *folder.glob(f".*{_LOCK}{_SOFT}")]:
        for path in paths:
            try:
                lock = _locked_file(path.with_name(path.name.removesuffix(_SOFT)), patience)
            except Timeout as error:
                raise CheckpointError(
                    f"run folder {folder}: a process of a killed run is still working in it ({path.name}); "
                    f"wait for it to end{_remedy(error)}"
                ) from error
            path.unlink(missing_ok=True)
            lock.release()


def _locked_file(path: Path, patience: float) -> BaseFileLock:
    """Takes the lock of a file, the system's or the one that is a file itself.

    Args:
        path: The file, which is made. Its folder exists.
        patience: Seconds to wait for another holder; -1 waits for ever.

    Raises:
        Timeout: Another process holds the lock.
    """
    # Without the library's own fallback, which takes the same file for both kinds of locks and only for one error.
    lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=patience)
        return lock
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in REFUSED_LOCKS:
            raise
        warn_once(
            "lock",
            f"{path.parent}: the file system refuses to lock files, so a lock is a file ({path.name}{_SOFT}); "
            "start no second run in this folder from another machine",
        )
    lock = SoftFileLock(path.with_name(path.name + _SOFT))
    lock.acquire(timeout=patience)
    return lock


def _remedy(refusal: Timeout) -> str:
    """Returns the remedy for a lock that is a file: its process may have ended on another machine."""
    path = refusal.lock_file
    return f", or remove {path} if no process works in the folder" if path.endswith(_SOFT) else ""


def _acquire(folder: Path) -> BaseFileLock:
    """Takes the lock, and makes the folder.

    Raises:
        CheckpointError: Another process holds the lock.
    """
    path = folder / _LOCK
    while True:
        make_folder(folder)
        try:
            lock = _locked_file(path, 0)
        except Timeout as error:
            raise CheckpointError(
                f"run folder {folder}: another process is working in it; "
                f"wait for it to end, or choose another --run-name{_remedy(error)}"
            ) from error
        if Path(lock.lock_file).exists():
            return lock
        # The previous holder removed the unused folder between our opening the file and locking it. The lock of a
        # removed file locks nobody out, so try again.
        lock.release()


def _remove_if_unused(folder: Path, made: Sequence[Path]) -> None:
    """Removes the lock file, and the folders made for it, if the folder contains nothing else."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {_LOCK, _LOCK + _SOFT}:
            for name in (_LOCK, _LOCK + _SOFT):
                (folder / name).unlink(missing_ok=True)
            for path in made:
                path.rmdir()
