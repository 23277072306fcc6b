"""Atomic writes: to a temporary path beside the target, flushed to the disk, then renamed.

A write is all or nothing: a reader, or a run after a kill, sees the old file or the new file and never half of it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqgen.storage.names import json_text

# The mask can only be read by setting it.
_UMASK = os.umask(0o077)
os.umask(_UMASK)

_FILES_AT_A_TIME = 16


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside `target` that becomes `target` when the block ends well.

    The temporary path keeps the suffix of the target, because image writers choose their format by it. If the block
    raises, the temporary is removed and `target` stays as it was.

    Args:
        target: File or folder to write. An existing folder is replaced as a whole.

    Yields:
        The temporary path, which does not exist yet. Its parent folder exists.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
    _remove(temporary)
    try:
        yield temporary
        # A rename cannot replace a folder that has files, so the old folder is moved aside first. After a kill between
        # the two renames, `remove_leftovers` moves it back.
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
    """Writes many files, each atomically and some at a time, so that they wait for the disk together.

    Args:
        writers: Target -> the function that writes its content to a given path. After a failure no further file is
            begun.
    """

    def write(target: Path) -> None:
        with atomic_path(target) as temporary:
            writers[target](temporary)

    with ThreadPoolExecutor(_FILES_AT_A_TIME) as pool:
        # The results are taken one by one: the first error ends the loop, and `map` cancels what has not begun.
        for _ in pool.map(write, writers):
            pass


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
    path.rename(aside)
    return aside


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed processes left in `folder`.

    A folder that was moved aside for a replacement that never came goes back to its place.

    Args:
        folder: The folder. The caller holds its lock, so that no other process is writing to it.
    """
    for replaced in list(folder.rglob(".*.old")):
        # ".<name>.<process>.old" -> "<name>"
        target = replaced.with_name(replaced.name[1:].rsplit(".", 2)[0])
        if target.exists():
            _remove(replaced)
        else:
            replaced.rename(target)
    for pattern in (".*.tmp*", ".tmp*"):  # our own, and the ones that safetensors makes beside its files
        for temporary in list(folder.rglob(pattern)):
            _remove(temporary)


def _flush(path: Path) -> None:
    """Flushes a file to the disk, and gives it the usual permissions."""
    if path.is_file():
        # Some writers create private files, which a group that shares the folder could not read.
        path.chmod(0o666 & ~_UMASK)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
