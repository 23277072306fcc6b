"""Writes that are all or nothing: a temporary name beside the target, flushed, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UMASK = os.umask(0o077)
os.umask(_UMASK)  # it can only be read by setting it

_FILES_AT_ONCE = 16


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` that becomes `target` when the block ends well.

    The temporary keeps the target's suffix, because image writers choose their format by it. When the
    block raises, the temporary is removed and `target` is as it was.

    Args:
        target: File or folder to write. A folder that exists is replaced as a whole.

    Yields:
        The temporary path; nothing exists there yet. Its parent folder does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            replaced = target.with_name(f".{target.name}.{os.getpid()}.old")
            _remove(replaced)
            target.rename(replaced)
            temporary.rename(target)
            _remove(replaced)
        else:
            _flush(temporary)
            temporary.replace(target)
    finally:
        _remove(temporary)


def write_each(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Writes many files, each all or nothing, some at a time: what waits for the disk then waits together.

    Args:
        writers: Target -> what writes it to the path that it is given. After a failure no further ones are begun.
    """

    def write(target: Path) -> None:
        with atomic_path(target) as temporary:
            writers[target](temporary)

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for _ in pool.map(write, writers):
            pass


def write_text(target: Path, text: str) -> None:
    """Writes a UTF-8 text file, all or nothing."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Writes an indented JSON file, all or nothing."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_of_json(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form (sorted keys, no white space), in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_aside(path: Path) -> Path:
    """Renames `path` to the first free `<name>.old-<n>` beside it and returns the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def remove_leftovers(folder: Path) -> None:
    """Removes the temporaries that killed processes left in `folder`; the caller holds its lock.

    A folder that was moved out of the way and whose replacement never came goes back to its place.
    """
    for replaced in list(folder.rglob(".*.old")):
        target = replaced.with_name(replaced.name[1:].rsplit(".", 2)[0])
        if target.exists():
            _remove(replaced)
        else:
            replaced.rename(target)
    for pattern in (".*.tmp*", ".tmp*"):  # ours, and those that safetensors makes beside the file it writes
        for temporary in list(folder.rglob(pattern)):
            _remove(temporary)


def _flush(path: Path) -> None:
    """Puts a file's bytes on the disk, and gives it the usual rights: some writers make theirs private."""
    if path.is_file():
        path.chmod(0o666 & ~_UMASK)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
