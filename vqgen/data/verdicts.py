"""The verdicts of earlier starts: files that were decoded once, and the values of their samples.

A verdict belongs to the bytes of a file and to the readers of pictures, so it holds wherever the same bytes are. Only
readable files are kept: the few other ones are tried again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import PIL

from vqgen.data.content import Contents, read_cache, write_cache
from vqgen.data.pictures.extents import Extent
from vqgen.data.unread import image_suffixes
from vqgen.runtime.turns import is_first

_VERSION = 1
"""Raised when a change of the readers changes the values that they measure, or the files that they accept."""


class Verdicts:
    """The readable files among some files, by the verdicts of earlier starts.

    Args:
        contents: The bytes of the files.
        rules: Number of the reading rules.

    Attributes:
        known: Index of each file that is known to be readable -> the values of its samples; None for a file that the
            first rules read, which know no ranges.
    """

    def __init__(self, contents: Contents, rules: int) -> None:
        self._hashes = contents.hashes
        self._cache = None if contents.cache is None else _beside(contents.cache, rules)
        kept = read_cache(self._cache)
        found = ((index, _parsed(kept[sha], rules)) for index, sha in enumerate(self._hashes) if sha and sha in kept)
        self.known = {index: extent for index, extent in found if not isinstance(extent, bool)}

    def keep(self, readable: Mapping[int, Extent | None]) -> None:
        """Keeps the verdicts for the next start.

        Args:
            readable: Index of each readable file -> the values of its samples, as in `known`.
        """
        if self._cache is None or readable.keys() <= self.known.keys() or not is_first():
            return
        verdicts = {self._hashes[index]: _document(extent) for index, extent in readable.items()}
        write_cache(self._cache, {sha: verdict for sha, verdict in verdicts.items() if sha is not None})


def _beside(cache: Path, rules: int) -> Path:
    """Returns the file that keeps the verdicts of these readers, beside the one of the hashes."""
    # An extra that is installed reads more formats, so the suffixes stand for the extras.
    readers = json.dumps([_VERSION, rules, PIL.__version__, sorted(image_suffixes())])
    return cache.with_name(f"{cache.stem}-{hashlib.sha256(readers.encode()).hexdigest()[:8]}.json")


def _document(extent: Extent | None) -> list[Any]:
    return [] if extent is None else [extent.kind, extent.low, extent.high, extent.own_range]


def _parsed(document: Any, rules: int) -> Extent | bool | None:
    """Returns the values in a verdict; False for a damaged one."""
    if not isinstance(document, list) or len(document) != 4:
        return None if document == [] and rules == 1 else False
    kind, low, high, own = document
    has_range = isinstance(own, list) and len(own) == 2 and _are_numbers(own)
    if not (isinstance(kind, str) and _are_numbers((low, high)) and (own is None or has_range)):
        return False
    return Extent(kind, low, high, None if own is None else (own[0], own[1]))


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float) for value in values)
