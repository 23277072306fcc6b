"""The identity of files: a hash of their bytes. A file that keeps its name and its size may still be another picture.

Bytes are read once: for a large set the hashes are kept in the cache of the user, and belong to a path, a size, the
times of the last change and the inode. A set that takes a moment to hash has no cache.
"""

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import CheckpointError, DataError
from vqgen.runtime.turns import is_first, shared_out
from vqgen.storage.documents import read_json
from vqgen.storage.files import sha256_of_file, write_json
from vqgen.storage.home import cache_folder

_WORTH_A_CACHE = 2**26
"""Bytes of a set that are hashed in less time than the images take to decode; a larger set has a cache."""

_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change of a file changes its time too, on every file system."""

_THREADS = 4

_HASH = re.compile("[0-9a-f]{64}")

_State = tuple[int, int, int, int]
"""Size, time of the last change of the content, of the content or the inode, and the number of the inode."""


def content_hashes(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Computes the SHA-256 of the bytes of files, `(n, 32)`.

    In a distributed run each process reads its share, and all processes must call this.

    Raises:
        DataError: A file cannot be read.
    """
    now = time.time_ns()
    states = [_state(path) for path in paths]
    has_cache = sum(state[0] for state in states if state) >= _WORTH_A_CACHE
    cache = _cache_file(paths) if has_cache else None
    known = _read_cache(cache)

    def work(indices: range) -> list[str | None]:
        with ThreadPoolExecutor(_THREADS) as pool:  # hashing releases the interpreter's lock
            return list(pool.map(lambda index: _hash(paths[index], states[index], known), indices))

    hashes = shared_out(work, len(paths))
    for path, found in zip(paths, hashes, strict=True):
        if found is None:
            raise DataError(f"{str(path)!r}: cannot be read any more; restore it, or remove it and run again")
    if cache is not None and is_first():
        _write_cache(cache, paths, states, hashes, now)
    digests = b"".join(bytes.fromhex(found) for found in hashes if found)
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(paths), 32)


def _state(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # ctime: a program may set the time of the content back, and a copy may keep it. Nobody can set this one.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _hash(path: Path, state: _State | None, known: Mapping[str, Any]) -> str | None:
    if state is None:
        return None
    kept = known.get(os.path.abspath(path))
    if kept is not None and kept[:4] == [*state]:
        return kept[4]
    try:
        return sha256_of_file(path)
    except OSError:
        return None


def _cache_file(paths: Sequence[Path]) -> Path:
    """Returns the file that keeps the hashes of these files: one for each folder that contains all of them."""
    root = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    return cache_folder() / "images" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"


def _read_cache(cache: Path | None) -> Mapping[str, Any]:
    if cache is None:
        return {}
    # A cache that is missing or damaged is made again.
    with suppress(OSError, CheckpointError, KeyError, TypeError):
        document = read_json(cache)
        return {path: kept for path, kept in document.items() if len(kept) == 5 and _HASH.fullmatch(kept[4])}
    return {}


def _write_cache(
    cache: Path, paths: Sequence[Path], states: Sequence[_State | None], hashes: Sequence[str | None], now: int
) -> None:
    """Writes the hashes, except those of files that may have changed within the resolution of their time."""
    kept = {
        os.path.abspath(path): [*state, found]
        for path, state, found in zip(paths, states, hashes, strict=True)
        if state is not None and max(state[1], state[2]) < now - _SETTLED
    }
    with suppress(OSError):  # without a cache the next start takes longer, and that is all
        write_json(cache, kept)
