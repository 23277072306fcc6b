"""Folders among the images that are no data: outputs of vqgen, and the files that systems and programs leave behind."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from vqgen.storage.files import write_text

# fmt: off
SYSTEM_NAMES = {
    "__macosx": "the resources of a Mac in a ZIP archive",
    "icon\r": "the icon of a folder of macOS",
    "network trash folder": "the bin of a shared disk of macOS",
    "temporary items": "temporary files of macOS",
    "$recycle.bin": "the bin of Windows",
    "recycler": "the bin of Windows",
    "system volume information": "the records of a disk of Windows",
    "found.000": "the remains of a disk check of Windows",
    "thumbs.db": "previews of Windows",
    "ehthumbs.db": "previews of Windows",
    "ehthumbs_vista.db": "previews of Windows",
    "desktop.ini": "the looks of a folder of Windows",
    "lost+found": "the remains of a disk check of Linux",
    "@eadir": "previews of a Synology disk",
    "@tmp": "temporary files of a Synology disk",
    "#recycle": "the bin of a Synology disk",
    "#snapshot": "earlier states of a Synology disk",
    "@recycle": "the bin of a QNAP disk",
    "@recently-snapshot": "earlier states of a QNAP disk",
    ".@__thumb": "previews of a QNAP disk",
    "~snapshot": "earlier states of a NetApp disk",
    "__pycache__": "compiled Python",
}
# fmt: on
"""Name in lower case -> its meaning. Names that begin with a dot are hidden on all systems and need no line:
.DS_Store, ._<name>, .Trash-1000, .Trashes, .git, .ipynb_checkpoints, .thumbnails."""

MARK = ".vqgen-output"
"""A file that marks its folder as an output of vqgen; for outputs that cannot be recognized by another file."""

_OUTPUTS = {
    MARK: re.compile(rb""),
    # The first keys of the documents, because a file of this name may be the user's.
    "stage.json": re.compile(rb'\{\s*"stage":\s*"'),
    "pipeline.json": re.compile(rb'\{\s*"format_version":\s*\d+,\s*"class":'),
    "manifest.json": re.compile(rb'\{\s*"format_version":\s*\d+,\s*"vqvae":'),
    "samples.json": re.compile(rb'\{\s*"seed":\s*-?\d+,\s*"sampling":'),
}
"""Name of a file -> the begin of its content in a folder that vqgen wrote: a stage, a pipeline, codes, samples."""

_FIRST_FILES = {".lock", "budget.json"}
"""Files of a run folder before its first stage."""


def is_hidden(name: str) -> bool:
    """Returns True for the name of a hidden file or folder."""
    return name.startswith(".")


def is_of_system(name: str) -> bool:
    """Returns True for a name that a system or a program gives to its own files and folders."""
    return name.lower() in SYSTEM_NAMES


def is_output(folder: str | Path, names: Collection[str]) -> bool:
    """Returns True for a folder that vqgen wrote: a run, a stage, a pipeline, codes, samples, or one with a mark.

    Args:
        folder: The folder.
        names: Names of the files and folders in it.
    """
    if any(name in names and _begins(os.path.join(folder, name), begin) for name, begin in _OUTPUTS.items()):
        return True
    # A run that has just begun. No image can be lost here.
    if names and set(names) <= _FIRST_FILES:
        return True
    # A run folder: beside the stages it may hold pictures of the user's reports.
    return "recipe.toml" in names and any(
        _begins(os.path.join(folder, name, "stage.json"), _OUTPUTS["stage.json"]) for name in names
    )


def mark_output(folder: Path) -> None:
    """Marks a folder of pictures as an output, unless it already holds files: these may be the user's images."""
    if not folder.is_dir() or not any(folder.iterdir()):
        write_text(folder / MARK, "Pictures that vqgen made. A search for images passes this folder over.\n")


def _begins(path: str, begin: re.Pattern[bytes]) -> bool:
    try:
        with open(path, "rb") as file:
            return begin.match(file.read(256)) is not None
    except OSError:  # it is missing, or a folder
        return False
