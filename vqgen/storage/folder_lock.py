"""The lock of a folder. One launch at a time writes to the folder, and a kill frees the lock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqgen.errors import CheckpointError

_LOCK = ".lock"


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
