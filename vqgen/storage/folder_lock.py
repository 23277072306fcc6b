"""The lock of a folder. One launch at a time writes to the folder, and a kill frees the lock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqgen.errors import CheckpointError

_LOCK = ".lock"

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


def part_lock(folder: Path, part: str) -> FileLock:
    """Returns the lock of a part of a locked folder, for the processes that work for the holder of the folder's lock.

    It is a context manager that waits for another holder. Its file stays until `clear_part_locks`.

    Args:
        folder: The folder.
        part: A name.
    """
    return FileLock(folder / f".{part}{_LOCK}")


def clear_part_locks(folder: Path, patience: float = _PATIENCE) -> None:
    """Waits for the processes that hold locks of parts, which a killed process may have left, and removes the locks.

    Args:
        folder: The folder. The caller holds its lock, so that no other process takes the lock of a part from now on.
        patience: Seconds to wait for each lock.

    Raises:
        CheckpointError: A process holds its lock for longer.
    """
    while paths := list(folder.glob(f".*{_LOCK}")):
        for path in paths:
            try:
                with FileLock(path, timeout=patience):
                    path.unlink()
            except Timeout as error:
                raise CheckpointError(
                    f"run folder {folder}: a process of a killed run is still working in it ({path.name}); "
                    "wait for it to end"
                ) from error


def _acquire(folder: Path) -> FileLock:
    """Takes the lock, and makes the folder.

    Raises:
        CheckpointError: Another process holds the lock.
    """
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise CheckpointError(
                f"run folder {folder}: another process is working in it; "
                f"wait for it to end, or choose another --run-name"
            ) from error
        if path.exists():
            return lock
        # The previous holder removed the unused folder between our opening the file and locking it. The lock of a
        # removed file locks nobody out, so try again.
        lock.release()


def _remove_if_unused(folder: Path, made: Sequence[Path]) -> None:
    """Removes the lock file, and the folders made for it, if the folder contains nothing else."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            for path in made:
                path.rmdir()
