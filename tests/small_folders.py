"""Folders of small files, and a failure in the middle of a write."""

from pathlib import Path


class Torn(Exception):
    """A write that fails half-way."""


def names(folder: Path) -> list[str]:
    """Returns the names of the entries of a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, **files: str) -> Path:
    """Makes a folder with files of these names and texts."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
