"""Reads `.vqg` files from the disk: as a whole, or no further than the levels that are asked for."""

import os
from dataclasses import dataclass
from pathlib import Path

from vqgen.codec.header import FIXED_BYTES, MAX_FILE_BYTES, header_size, parse_header
from vqgen.codec.level_choice import LevelChoice
from vqgen.errors import BitstreamError


@dataclass(frozen=True)
class FileStart:
    """The beginning of a `.vqg` file.

    Attributes:
        data: Its first bytes; all of them, or those of the header and of some levels.
        size: Bytes of the file.
    """

    data: bytes
    size: int


def read_file(path: Path) -> bytes:
    """Reads a `.vqg` file, unless it is longer than any `.vqg` file can be.

    Raises:
        BitstreamError: The file is too long.
    """
    _check_size(path.stat().st_size)
    return path.read_bytes()


def read_start(path: Path, choice: LevelChoice) -> FileStart:
    """Reads a `.vqg` file as far as some levels need it.

    Args:
        path: The file.
        choice: The levels. If the finest one is among them, the file is read to its end.

    Raises:
        BitstreamError: The file is too long, or its header is damaged.
    """
    if choice.needs_all:
        data = read_file(path)
        return FileStart(data, len(data))
    with path.open("rb") as file:
        _check_size(size := os.fstat(file.fileno()).st_size)
        data = file.read(FIXED_BYTES)
        data += file.read(max(0, header_size(data) - len(data)))
        ends = parse_header(data).ends
        # A model of other levels is refused later, by what the header says.
        data += file.read(ends[min(choice.count, len(ends)) - 1] - len(data))
    return FileStart(data, size)


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise BitstreamError(
            f"this is not a compressed image of vqgen: it should have at most {MAX_FILE_BYTES} bytes, found {size}"
        )
