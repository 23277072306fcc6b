"""Copies of folders that stay while the work in the folder goes on."""

import os
import shutil
from pathlib import Path

from vqgen.storage.files import atomic_path
from vqgen.storage.refusals import copy_folder

_REPLACED = {".safetensors"}
"""Endings of files that are always replaced as a whole, so that a second name keeps the old content."""


def copy_aside(folder: Path) -> Path:
    """Copies a folder to the first free `<name>.old-<n>` beside it, all or nothing, and returns the new path.

    Tensors get a second name in place of a copy, if the file system allows it: they take no space until the folder has
    new ones.
    """
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    with atomic_path(aside) as temporary:
        copy_folder(folder, temporary, _link_or_copy)
    return aside


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).suffix in _REPLACED:
        try:
            os.link(source, target)
            return
        except OSError:  # the file system does not support links
            pass
    shutil.copyfile(source, target)
