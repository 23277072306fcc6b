"""JSON documents with a version. A document is read exactly, or refused with the reason."""

import json
from pathlib import Path
from typing import Any

from vqgen.errors import CheckpointError

FORMAT_VERSION = 1
"""The version of the folders that contain models and pipelines."""


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        CheckpointError: The file is missing or is not a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: is not a JSON file ({error}); restore it or make it again") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: should contain a JSON object, found a {type(document).__name__}")
    return document


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
