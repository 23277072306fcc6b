"""The identity of files: a hash of their bytes. A file that keeps its name and its size may still be another picture.

Bytes are read once: for a large set the hashes are kept in the cache of the user, and belong to a path, a size, the
times of the last change and the inode. A set that takes a moment to read has no cache.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqgen.data.watching import read_error, system_cause
from vqgen.errors import CheckpointError, ReadError
from vqgen.runtime.turns import is_first, shared_out
from vqgen.storage.documents import read_json
from vqgen.storage.files import sha256_of_file, write_text
from vqgen.storage.home import cache_folder
from vqgen.storage.names import json_text

_WORTH_A_CACHE = 2**26
"""Bytes of a set that are hashed in less time than the images take to decode; a larger set has a cache."""

_MANY = 1_000
"""Files of a set that has a cache, however small they are."""

_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change of a file changes its time too, on every file system."""

_THREADS = 4

_HASH = re.compile("[0-9a-f]{64}")

_State = tuple[int, int, int, int]
"""Size, time of the last change of the content, of the content or the inode, and the number of the inode."""


@dataclass(frozen=True)
class Contents:
    """The bytes of files.

    Attributes:
        hashes: SHA-256 of each file, in hex; None for a file that is missing or may not be read.
        sizes: Bytes of each file; 0 for such a file.
        cache: The file that keeps the hashes; None for a small set.
    """

    hashes: list[str | None]
    sizes: list[int]
    cache: Path | None


def contents_of(paths: Sequence[Path]) -> Contents:
    """Computes the SHA-256 of the bytes of files.

    In a distributed run each process reads its share, and all processes must call this.

    Raises:
        ReadError: The system failed to read a file.
    """
    now = time.time_ns()
    states = _states(paths)
    sizes = [0 if state is None else state[0] for state in states]
    cache = _cache_file(paths) if sum(sizes) >= _WORTH_A_CACHE or len(paths) >= _MANY else None
    known = read_cache(cache)
    names = _absolute(paths)
    kept = [_kept(known.get(name), state) for name, state in zip(names, states, strict=True)]
    missing = [index for index, found in enumerate(kept) if found is None and states[index] is not None]

    def work(places: range) -> list[str | ReadError | None]:
        with ThreadPoolExecutor(_THREADS) as pool:  # hashing releases the interpreter's lock
            return list(pool.map(lambda place: _hash(paths[missing[place]]), places))

    for index, found in zip(missing, shared_out(work, len(missing)), strict=True):
        if isinstance(found, ReadError):
            raise found
        kept[index] = found
    if cache is not None and missing and is_first():
        # Without files that may have changed within the resolution of their time.
        settled = {
            name: [*state, found]
            for name, state, found in zip(names, states, kept, strict=True)
            if state is not None and found is not None and max(state[1], state[2]) < now - _SETTLED
        }
        write_cache(cache, settled)
    return Contents(kept, sizes, cache)


def read_cache(cache: Path | None) -> Mapping[str, Any]:
    """Reads a cache; empty if there is none, or if it is damaged: it is then made again."""
    if cache is not None:
        with suppress(OSError, CheckpointError):
            return read_json(cache)
    return {}


def write_cache(cache: Path, document: Mapping[str, Any]) -> None:
    """Writes a cache, on one line: it is large. Without a cache the next start takes longer, and that is all."""
    with suppress(OSError):
        write_text(cache, json_text(json.dumps(document, ensure_ascii=False, separators=(",", ":"))) + "\n")


def _states(paths: Sequence[Path]) -> list[_State | None]:
    # Without threads: the answers come from the memory of the system, in microseconds.
    return [_state(path) for path in paths]


def _state(path: Path) -> _State | None:
    try:
        found = os.stat(path)
    except OSError as error:
        _raise_of_the_system(path, error)
        return None
    # ctime: a program may set the time of the content back, and a copy may keep it. Nobody can set this one.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _absolute(paths: Sequence[Path]) -> list[str]:
    # The same as `os.path.abspath` of each, which asks for the present folder every time.
    here = os.getcwd()
    # Each folder once: there are many files for each.
    split = [os.path.split(path) for path in map(os.fspath, paths)]
    folders = {folder: os.path.normpath(os.path.join(here, folder)) for folder in {folder for folder, _ in split}}
    return [os.path.join(folders[folder], name) for folder, name in split]


def _kept(entry: Any, state: _State | None) -> str | None:
    """Returns the hash in an entry of the cache, if it belongs to the file as it is now."""
    if state is None or not isinstance(entry, list) or len(entry) != 5 or entry[:4] != [*state]:
        return None
    return entry[4] if isinstance(entry[4], str) and _HASH.fullmatch(entry[4]) else None


def _hash(path: Path) -> str | ReadError | None:
    try:
        return sha256_of_file(path)
    except OSError as error:
        # As a value: in a distributed run the other processes wait for it.
        cause = system_cause(error)
        return None if cause is None else read_error(f"cannot read {str(path)!r}", cause)


def _raise_of_the_system(path: Path, error: OSError) -> None:
    if (cause := system_cause(error)) is not None:
        raise read_error(f"cannot read {str(path)!r}", cause) from error


def _cache_file(paths: Sequence[Path]) -> Path:
    """Returns the file that keeps the hashes of these files: one for each folder that contains all of them."""
    # As text: the parents of a hundred thousand paths take most of a second.
    folders = {os.path.dirname(path) for path in map(os.fspath, paths)}
    root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    return cache_folder() / "images" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
