"""The lock of a folder: one launch writes to it at a time, and a kill frees it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqgen.errors import CheckpointError

_LOCK = ".lock"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Holds a folder for this process as long as the block or the process lives; makes the folder if it is missing.

    A folder that is still empty at the end, and parents that were made for it, are removed again.

    Args:
        folder: The folder to hold.

    Raises:
        CheckpointError: Another process holds it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = _acquire(folder)
    try:
        yield
    finally:
        _remove_if_unused(folder, made)
        lock.release()


def _acquire(folder: Path) -> FileLock:
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise CheckpointError(
                f"run folder {folder}: another process is working in it; wait for it, or choose --run-name"
            ) from error
        if path.exists():
            return lock
        lock.release()  # the process that held it before found nothing to keep, and removed the file


def _remove_if_unused(folder: Path, made: Sequence[Path]) -> None:
    """Removes the lock, and the folders made for it, if nothing else lies in the folder."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            for path in made:
                path.rmdir()
