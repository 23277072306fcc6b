"""Requests that a file system may refuse: what the work needs ends it with a reason, and the rest only costs a warning.

    lock      NFS without a lock server, bucket file systems    a lock by the existence of a file
    mode      CIFS, FAT, bucket file systems                    the file keeps the mode that it has
    flush     pipes, FUSE, a few network file systems           the system writes when it likes
    rename    overlays, bind mounts, bucket file systems        a copy, which a kill can cut in the middle

A refusal is an error that says "not here" and not "not now": a full disk and a broken one are errors as ever.
"""

import errno
import os
import secrets
import shutil
import stat
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from vqgen.errors import VQGenWarning

_NOT_HERE = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EPERM}
"""Answers of a file system that does not know a request."""

REFUSED_LOCKS = _NOT_HERE | {errno.ENOLCK}
"""Error numbers of a file system without locks."""

_REFUSED_MODES = _NOT_HERE | {errno.EACCES, errno.EROFS}

# Windows flushes only through a handle that may write, and answers EBADF otherwise.
_REFUSED_FLUSHES = _NOT_HERE | {errno.EACCES, errno.EBADF}

_REFUSED_RENAMES = _NOT_HERE | {errno.EXDEV, errno.EBUSY}

_IS_WINDOWS = os.name == "nt"

_TRIES = 10
"""Tries to replace a file on Windows, where a virus scanner or an indexer opens new files for a moment."""

_SECONDS_BETWEEN_TRIES = 0.1

_warned: set[str] = set()
"""The kinds of requests of which this process has warned."""


def warn_once(kind: str, text: str) -> None:
    """Warns of a refusal, unless this process has warned of its kind already.

    Args:
        kind: lock, mode, flush, rename, or any other word.
        text: The warning.
    """
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(text, VQGenWarning, stacklevel=3)


def _lasting(folder: Path) -> Path:
    """Returns the nearest folder that is not a temporary one, for a message."""
    return next(path for path in (folder, *folder.parents) if not path.name.endswith(".tmp"))


def flush_file(path: Path) -> None:
    """Flushes a file to the disk, so that a rename never shows an empty file after a loss of power."""
    try:
        with _opened_for_flush(path) as file:
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _REFUSED_FLUSHES:
            raise
        warn_once(
            "flush",
            f"{_lasting(path.parent)}: the file system refuses to flush files ({error.strerror}); after a loss of "
            "power the newest files may be cut short",
        )


def flush_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk, if the system can, so that a rename survives a loss of power."""
    with suppress(OSError):  # Windows opens no folder, and without the flush the names come later
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opened_for_flush(path: Path) -> BinaryIO:
    try:
        return path.open("r+b")  # Windows flushes only what may be written
    except PermissionError:  # of a file that its writer made read-only
        return path.open("rb")


def share_file(path: Path) -> None:
    """Gives a private file the permissions of a new file in its folder.

    Some writers create private files, which a group that shares the folder could not read.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return
    try:
        path.chmod(_usual_mode(path.parent))
    except OSError as error:
        if error.errno not in _REFUSED_MODES:
            raise
        warn_once(
            "mode",
            f"{_lasting(path.parent)}: the file system refuses to change permissions ({error.strerror}); "
            "other users may be unable to read the files",
        )


def _usual_mode(folder: Path) -> int:
    """Returns the permissions of a new file. Only a new file shows them: Python reads the mask by changing it."""
    probe = folder / f".{secrets.token_hex(6)}.tmp"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def move(source: Path, target: Path) -> None:
    """Renames a file or a folder, or copies it if the file system refuses the rename.

    Args:
        source: The file or folder.
        target: Its new path. An existing file is replaced; there is no folder of this name.
    """
    try:
        _replace(source, target)
    except OSError as error:
        if error.errno not in _REFUSED_RENAMES:
            raise
        _copy_over(source, target, error)


def _replace(source: Path, target: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not _IS_WINDOWS:
                raise
            if not left:
                raise PermissionError(
                    error.errno, "is open in another program, which has to close it first", str(target)
                ) from error
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _copy_over(source: Path, target: Path, refusal: OSError) -> None:
    """Copies instead of a rename; raises the refusal if the copy is refused, too."""
    try:
        if source.is_dir():
            copy_folder(source, target, shutil.copyfile)
        else:
            shutil.copyfile(source, target)
            flush_file(target)
    except PermissionError as error:
        raise refusal from error
    remove(source)
    warn_once(
        "rename",
        f"{_lasting(target.parent)}: the file system refuses to rename files ({refusal.strerror}), so they are copied; "
        "a kill during a copy can leave half a file",
    )


def copy_folder(source: Path, target: Path, copy: Callable[[str, str], object]) -> None:
    """Copies a folder, without modes and times, which a file system may refuse.

    Args:
        source: The folder.
        target: The new folder, which does not exist.
        copy: Copies one file to a new path.
    """
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir()):
        if entry.is_dir():
            copy_folder(entry, target / entry.name, copy)
        else:
            copy(str(entry), str(target / entry.name))


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that it contains, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
