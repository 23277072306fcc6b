"""Atomic writes: to a temporary path beside the target, flushed to the disk, then renamed.

A write is all or nothing: a reader, or a run after a kill, sees the old file or the new file and never half of it. It
goes through a symbolic link to the file or folder that the link points to. A pipe or a device is written to.

    .<12 hex digits>.tmp<suffix>     the new file or folder, until it is whole
    .<12 hex digits>.old/<name>      a folder that is being replaced

A folder that cannot be renamed, such as a volume of a container, has both inside, and its content is replaced.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vqgen.storage.names import json_text
from vqgen.storage.refusals import flush_file, flush_folder, move, remove, share_file

_FILES_AT_A_TIME = 16

_LONGEST_SUFFIX = 16
"""Bytes of a suffix that a temporary name keeps. A longer one names no format, and a name may have 255 bytes."""

_NEW_STYLE = re.compile(r"\.[0-9a-f]{12}\.(old|tmp(\..*)?)")
"""The names of temporary files and folders."""

_OLD_STYLE_FILE = re.compile(r"\..+\.\d+\.tmp(\..*)?")
"""The names that vqgen 0.1 gave to temporary files and folders."""

_OF_SAFETENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")
"""The names that safetensors gives to its temporary files, beside the new file."""

_OLD_STYLE_FOLDER = re.compile(r"\.(?P<name>.+)\.\d+\.old")
"""The name that vqgen 0.1 gave to a folder that was being replaced."""

_NAMELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a write, which the system reports without the path."""

_SECONDS_OF_A_WRITE = 86_400
"""Age at which a temporary file is surely not being written."""

_STREAMS = ("/dev/fd/", "/dev/std", "/proc/")
"""Beginnings of paths that stand for open files. A file that was renamed to them would not be the open one."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` that becomes `target` when the block ends well.

    The temporary path keeps the suffix of the target, because image writers choose their format by it. If the block
    raises, the temporary is removed and `target` stays as it was.

    Args:
        target: File or folder to write. An existing folder is replaced as a whole. A link stays, and the file or
            folder that it points to is written.

    Yields:
        The temporary path, which does not exist yet. Its parent folder exists.
    """
    if _is_stream(target):
        with _through_stream(target) as temporary:
            yield temporary
        return
    target = linked_path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target / "content" if _stays_in_place(target) else target
    temporary = _temporary_beside(beside, f"tmp{_short_suffix(target)}")
    try:
        yield temporary
        # A rename cannot replace a folder that has files, so the old folder is moved aside first. After a kill between
        # the two renames, `remove_leftovers` moves it back.
        if temporary.is_dir():
            replace = _replace_content if temporary.parent == target else _replace_folder
            replace(temporary, target)
            flush_folder(target.parent)
        else:
            if temporary.is_file():
                share_file(temporary)
                flush_file(temporary)
            move(temporary, target)
    except OSError as error:
        _name_target(error, temporary, target)
        raise
    finally:
        with suppress(OSError):  # the reason of the failure matters more
            remove(temporary)


def linked_path(path: Path) -> Path:
    """Returns the path that a symbolic link points to, at the end of all links; any other path as it is.

    Raises:
        OSError: Links point to each other.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def make_folder(folder: Path) -> None:
    """Makes a folder with its parents, unless it exists; of a link, the folder that it points to."""
    linked_path(folder).mkdir(parents=True, exist_ok=True)


def _temporary_beside(target: Path, kind: str) -> Path:
    # Random, so that two processes and two threads differ; and short, so that a long name has room for it.
    return target.with_name(f".{secrets.token_hex(6)}.{kind}")


def _short_suffix(target: Path) -> str:
    return target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""


def _stays_in_place(target: Path) -> bool:
    """Returns True for a folder that cannot be renamed: a mount point, or one in a folder that cannot be written to."""
    return target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))


def _replace_folder(temporary: Path, target: Path) -> None:
    if not target.is_dir():
        move(temporary, target)
        return
    replaced = _temporary_beside(target, "old")
    replaced.mkdir()
    # Into a folder, and not under a name that contains the old one: that may have 255 bytes already.
    move(target, replaced / target.name)
    try:
        move(temporary, target)
    except BaseException:
        move(replaced / target.name, target)  # if this fails too, the old folder stays for `remove_leftovers`
        replaced.rmdir()
        raise
    remove(replaced)


def _replace_content(temporary: Path, target: Path) -> None:
    """Replaces the content of a folder by that of a folder inside it."""
    old = [path for path in target.iterdir() if not _NEW_STYLE.fullmatch(path.name)]
    # Files go last: a folder of vqgen is whole when the documents at its top are there.
    new = sorted(temporary.iterdir(), key=Path.is_file)
    replaced = _temporary_beside(target / "content", "old")
    replaced.mkdir()
    try:
        _move_all(old, replaced)
        _move_all(new, target)
    except BaseException:
        if all((replaced / path.name).exists() for path in old):  # so the new content was on its way
            for path in new:
                remove(target / path.name)
        _move_all(replaced.iterdir(), target)
        replaced.rmdir()
        raise
    remove(replaced)
    flush_folder(target)


def _move_all(paths: Iterable[Path], folder: Path) -> None:
    for path in list(paths):
        move(path, folder / path.name)


def _is_stream(target: Path) -> bool:
    """Returns True for a pipe, a device or an open file, which a rename would replace instead of writing to it."""
    if str(target).startswith(_STREAMS):
        return True
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _through_stream(target: Path) -> Iterator[Path]:
    """Yields a temporary path, and copies its file to a pipe or a device."""
    with tempfile.TemporaryDirectory(prefix="vqgen-") as folder:
        temporary = Path(folder) / f"file{_short_suffix(target)}"
        yield temporary
        with temporary.open("rb") as file, target.open("wb") as stream:
            shutil.copyfileobj(file, stream)


def _name_target(error: OSError, temporary: Path, target: Path) -> None:
    """Puts the path that the user knows into an error that names the temporary path, or none."""
    if error.filename == str(temporary) or (error.filename is None and error.errno in _NAMELESS):
        error.filename = str(target)
        error.filename2 = None


def write_each(writers: Mapping[Path, Callable[[Path], object]]) -> dict[Path, OSError]:
    """Writes many files, each atomically and some at a time, so that they wait for the disk together.

    A file that cannot be written (its name is too long, a folder has its name) leaves the other files as they are.

    Args:
        writers: Target -> the function that writes its content to a given path. After an error that is not of the file
            system, no further file is begun.

    Returns:
        Target -> the error, for each file that could not be written.
    """

    def write(target: Path) -> OSError | None:
        try:
            with atomic_path(target) as temporary:
                writers[target](temporary)
        except OSError as error:
            return error
        return None

    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
        # The results are taken one by one: a raised error ends the loop, and `map` cancels what has not begun.
        errors = zip(writers, pool.map(write, writers), strict=True)
        return {target: error for target, error in errors if error is not None}


def write_text(target: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Writes an indented JSON file atomically."""
    write_text(target, json_text(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def sha256_of_json(value: Any) -> str:
    """Computes the SHA-256 of a JSON value in canonical form (sorted keys, no white space), in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Computes the SHA-256 of the bytes of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_aside(path: Path) -> Path:
    """Renames `path` to the first free `<name>.old-<n>` beside it and returns the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    move(path, aside)
    return aside


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in `folder`, also below links to other folders.

    A folder that was moved aside for a replacement that never came goes back to its place.

    Args:
        folder: The folder. The caller holds its lock, so that no other process is writing to it.
    """
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    for path in links:
        _put_back_linked(linked_path(path))
    for replaced in list(folder.rglob(".*.old")):
        _put_back(replaced)
    for temporary in [path for path in folder.rglob(".*tmp*") if _is_leftover(path)]:
        remove(temporary)
    # Another run may write to a folder that is linked here, so only what is old goes, by names that nobody else gives.
    for path in links:
        for temporary in [each for each in path.rglob(".*") if _NEW_STYLE.fullmatch(each.name)]:
            if time.time() - temporary.lstat().st_mtime > _SECONDS_OF_A_WRITE:
                remove(temporary)


def _is_leftover(path: Path) -> bool:
    """Returns True for a temporary file or folder of vqgen, or of safetensors; a user may have others."""
    if not _OF_SAFETENSORS.fullmatch(path.name):
        return bool(_NEW_STYLE.fullmatch(path.name) or _OLD_STYLE_FILE.fullmatch(path.name))
    if not path.is_file():
        return False
    with path.open("rb") as file:  # the length of the header, and the header, unless the kill came before
        begin = file.read(9)
    return (len(begin) < 9 and not any(begin)) or begin[8:] in (b"{", b"\0")


def _put_back_linked(target: Path) -> None:
    """Puts a folder back to which a link points, if it was being replaced."""
    for replaced in target.parent.glob(".*.old"):
        if _NEW_STYLE.fullmatch(replaced.name) and (replaced / target.name).exists():
            _put_back(replaced)


def _put_back(replaced: Path) -> None:
    """Moves a folder that was being replaced to its place, or removes it if the new one is there."""
    if old := _OLD_STYLE_FOLDER.fullmatch(replaced.name):
        kept = [(replaced, replaced.with_name(old["name"]))]
    elif _NEW_STYLE.fullmatch(replaced.name) and replaced.is_dir():
        kept = [(path, replaced.with_name(path.name)) for path in replaced.iterdir()]
    else:
        return
    for path, target in kept:
        if not target.exists():
            move(path, target)
    remove(replaced)
