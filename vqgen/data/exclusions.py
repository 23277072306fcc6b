"""The files that a run leaves out because they cannot be read. The list lies in the run folder.

A later start of the run leaves out the same files, also if a newer reader could read them: its set of images is the
same. A file whose bytes have changed since is tried again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqgen.errors import CheckpointError
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_json

_FILE = "unreadable.json"


class Exclusion(NamedTuple):
    """The verdict on a file that cannot be read.

    Attributes:
        sha256: The hash of its bytes; None for a file that cannot be opened.
        reason: The message of the reader.
    """

    sha256: str | None
    reason: str


def read_exclusions(run_folder: Path) -> dict[str, Exclusion]:
    """Reads the list of a run: name of each file -> verdict; empty if the run has no list.

    Raises:
        CheckpointError: The list is damaged.
    """
    path = run_folder / _FILE
    if not path.is_file():
        return {}
    listed = read_json(path).get("images")
    if not isinstance(listed, dict) or not all(map(_is_entry, listed.values())):
        raise CheckpointError(f"{path}: is not a list of unreadable images; restore it or remove it")
    return {name: Exclusion(entry["sha256"], entry["reason"]) for name, entry in listed.items()}


def write_exclusions(run_folder: Path, exclusions: Mapping[str, Exclusion]) -> None:
    """Writes the list of a run, or removes it if no file is left out. Only the main process calls this function."""
    path = run_folder / _FILE
    if not exclusions:
        path.unlink(missing_ok=True)
    elif exclusions != read_exclusions(run_folder):
        write_json(path, {"images": {name: entry._asdict() for name, entry in exclusions.items()}})


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("reason"), str)
        and isinstance(entry.get("sha256", 0), str | None)
    )
