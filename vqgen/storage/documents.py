"""Text, JSON and TOML files. A document is read exactly, or refused in one line that names the file and the remedy.

All of vqgen reads such files with these functions: a file may be damaged, or written by a stranger, and the libraries
fail in many ways. Letters may not be UTF-8, a number may have more digits than Python converts, and a text may be
nested deeper than Python calls.
"""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqgen.errors import CheckpointError, VQGenError

FORMAT_VERSION = 1
"""The version of the folders that contain models and pipelines."""

DEEPEST = 100
"""Lists inside lists, at most. Our own documents have a few, and later code may follow them by recursion."""

_MOST_BITS = 1000
"""Bits of the longest number. Our own numbers have at most 64, and a message cannot show a number of any length."""

_REMEDY = "restore it or make it again"


def read_text(path: Path, *, error: type[VQGenError] = CheckpointError, remedy: str = _REMEDY) -> str:
    """Reads a text file.

    Args:
        path: The file.
        error: The class of the error.
        remedy: The end of the error's message.

    Raises:
        VQGenError: The file is missing, or is not a text in UTF-8; of the class `error`.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as reason:
        raise error(f"{path}: there is no such file") from reason
    except UnicodeDecodeError as reason:
        at = f"{reason.reason} at byte {reason.start:,}"
        raise error(f"{path}: should be a text in UTF-8, found another encoding ({at}); {remedy}") from reason


def parse_json(
    text: str, origin: Path | str, *, error: type[VQGenError] = CheckpointError, remedy: str = _REMEDY
) -> Any:
    """Parses a text of JSON.

    Args:
        text: The text.
        origin: The file that contains it, for the error.
        error: The class of the error.
        remedy: The end of the error's message.

    Raises:
        VQGenError: The text is not JSON, or is nested too deeply, or a number is too long; of the class `error`.
    """
    return _parse(json.loads, text, f"{origin}: is not a JSON file", error, remedy)


def parse_toml(
    text: str, origin: Path | str, *, error: type[VQGenError] = CheckpointError, remedy: str = _REMEDY
) -> dict[str, Any]:
    """Parses a text of TOML. Arguments and errors are those of `parse_json`."""
    return _parse(tomllib.loads, text, f"{origin}: is not a TOML file", error, remedy)


def read_json(path: Path, *, error: type[VQGenError] = CheckpointError, remedy: str = _REMEDY) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: The file.
        error: The class of the error.
        remedy: The end of the error's message.

    Raises:
        VQGenError: The file is missing or is not a JSON object; of the class `error`.
    """
    document = parse_json(read_text(path, error=error, remedy=remedy), path, error=error, remedy=remedy)
    if not isinstance(document, dict):
        raise error(f"{path}: should contain a JSON object, found a {type(document).__name__}; {remedy}")
    return document


def read_toml(path: Path, *, error: type[VQGenError] = CheckpointError, remedy: str = _REMEDY) -> dict[str, Any]:
    """Reads a TOML file. Arguments and errors are those of `read_json`."""
    return parse_toml(read_text(path, error=error, remedy=remedy), path, error=error, remedy=remedy)


def check_format(document: dict[str, Any], path: Path) -> None:
    """Refuses a document of another version of the format.

    Args:
        document: The document.
        path: Its path, for the error.

    Raises:
        CheckpointError: The document has another version, or none.
    """
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: should have format_version {FORMAT_VERSION}, found {version}; use the vqgen that wrote it"
        )


def _parse(parse: Callable[[str], Any], text: str, problem: str, error: type[VQGenError], remedy: str) -> Any:
    try:
        document = parse(text)
        _check_extent(document)
    except RecursionError as reason:
        raise error(f"{problem} of vqgen (more than {DEEPEST} levels of nesting); {remedy}") from reason
    except ValueError as reason:
        # Python's own advice about long numbers is for programmers.
        is_of_parser = isinstance(reason, json.JSONDecodeError | tomllib.TOMLDecodeError)
        found = " ".join(str(reason).split())[:200] if is_of_parser else "a number has too many digits"
        raise error(f"{problem} ({found}); {remedy}") from reason
    return document


def _check_extent(document: Any) -> None:
    """Raises a RecursionError for a document that is nested too deeply, and a ValueError for a number too long."""
    level: list[Any] = [[document]]
    for _ in range(DEEPEST + 1):  # the list around the document is a level, too
        deeper: list[Any] = []
        # One plain loop, because documents with the hashes of all images have a hundred thousand parts.
        for container in level:
            for part in container.values() if type(container) is dict else container:
                kind = type(part)
                if kind is dict or kind is list:
                    deeper.append(part)
                elif kind is int and part.bit_length() > _MOST_BITS:
                    raise ValueError("too many digits")
        if not deeper:
            return
        level = deeper
    raise RecursionError
