"""The search for image files below a folder."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from vqgen.errors import DataError

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
# fmt: on
"""Suffixes of image files, in lower case."""


def find_images(root: Path) -> list[Path]:
    """Lists the image files below a folder: those that `find_files` finds with one of `IMAGE_SUFFIXES`."""
    return find_files(root, IMAGE_SUFFIXES)


def find_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files below a folder with one of these suffixes, in upper or lower case.

    Names that begin with a dot are skipped. Links are followed, but no folder is entered twice, and no folder that
    contains `root`. A broken link is listed, so that reading it can report it.

    Args:
        root: The folder.
        suffixes: Suffixes in lower case, with their dot.

    Returns:
        Paths that begin with `root`, in the order of their relative paths.

    Raises:
        DataError: A folder cannot be listed.
    """
    # Real paths, so that a link to the folder itself, or to one above it, ends there.
    here = Path(os.path.realpath(root))
    entered = {str(here), *map(str, here.parents)}
    return [root / name for name in sorted(_walk(str(root), "", suffixes, entered))]


def _walk(folder: str, prefix: str, suffixes: Collection[str], entered: set[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list the folder {folder!r}: {error.strerror or error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            target = os.path.realpath(entry.path)
            if target not in entered:
                entered.add(target)
                yield from _walk(entry.path, f"{prefix}{entry.name}/", suffixes, entered)
        elif os.path.splitext(entry.name)[1].lower() in suffixes and (entry.is_file() or entry.is_symlink()):
            yield prefix + entry.name
