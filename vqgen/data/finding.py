"""The search for image files below a folder: what it finds, and what it passes over."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vqgen.data.no_data import is_hidden, is_of_system, is_output
from vqgen.data.unread import Unread, image_suffixes
from vqgen.errors import DataError
from vqgen.storage.names import listed


@dataclass
class Found:
    """The result of a search.

    Attributes:
        root: The folder that was searched.
        paths: The files; each begins with `root`. In the order of their relative paths.
        names: Their relative paths, with `/`.
        outputs: Folders that vqgen wrote, relative to `root`. Nothing below them is found.
        system: Folders that a system or a program keeps, relative to `root`. Nothing below them is found.
        unread: Pictures that are not read.
    """

    root: Path
    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    unread: Unread = field(default_factory=Unread)

    @property
    def notes(self) -> list[str]:
        """One line for each kind of files that were passed over; empty if there are none."""
        notes = [self.unread.text(len(self.paths))] if len(self.unread) else []
        for folders, kind in ((self.outputs, "outputs of vqgen"), (self.system, "folders of a system or a program")):
            if folders:
                notes.append(f"{kind} in {str(self.root)!r} are no images of the data set: {listed(folders)}")
        return notes


def search_images(root: Path) -> Found:
    """Searches a folder for image files, and counts the pictures that are not read. Raises as `search_files`."""
    return search_files(root, image_suffixes(), for_images=True)


def find_images(root: Path) -> list[Path]:
    """Lists the image files below a folder; see `search_files`."""
    return search_images(root).paths


def find_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files below a folder with one of these suffixes; see `search_files`."""
    return search_files(root, suffixes).paths


def search_files(root: Path, suffixes: Collection[str], *, for_images: bool = False) -> Found:
    """Searches a folder for files with one of these suffixes, in upper or lower case.

    Hidden names and names of systems are passed over, unless they are `root` itself. Links are followed, but no folder
    is entered twice, and no folder that contains `root`. A broken link is listed, so that reading it can report it.

    Args:
        root: The folder.
        suffixes: Suffixes in lower case, with their dot.
        for_images: Pass over the outputs of vqgen too, and count the pictures with other suffixes. Files whose suffix
            tells nothing are then opened.

    Raises:
        DataError: A folder cannot be listed.
    """
    # Real paths, so that a link to the folder itself, or to one above it, ends there.
    here = Path(os.path.realpath(root))
    search = _Search(Found(root), suffixes, for_images, {str(here), *map(str, here.parents)})
    search.found.names = sorted(search.walk("", _entries(str(root))))
    search.found.paths = [root / name for name in search.found.names]
    return search.found


def subfolders(folder: Path) -> list[Path]:
    """Lists the folders in a folder that may hold images of a data set, in the order of their names.

    Raises:
        DataError: The folder cannot be listed.
    """
    return [
        folder / entry.name
        for entry in _entries(str(folder))
        if entry.is_dir() and not is_hidden(entry.name) and not is_of_system(entry.name) and not _is_output(entry)
    ]


@dataclass
class _Search:
    found: Found
    suffixes: Collection[str]
    for_images: bool
    entered: set[str]

    def walk(self, prefix: str, entries: list[os.DirEntry[str]]) -> Iterator[str]:
        """Yields the relative paths of the files in a folder and below it."""
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if is_of_system(entry.name):
                if entry.is_dir():
                    self.found.system.append(prefix + entry.name)
            elif entry.is_dir():
                yield from self._enter(prefix + entry.name, entry)
            elif os.path.splitext(entry.name)[1].lower() in self.suffixes:
                if entry.is_file() or entry.is_symlink():
                    yield prefix + entry.name
            elif self.for_images and entry.is_file():
                self.found.unread.note(prefix + entry.name, entry.path)

    def _enter(self, name: str, entry: os.DirEntry[str]) -> Iterator[str]:
        target = os.path.realpath(entry.path)
        if target in self.entered:
            return
        self.entered.add(target)
        entries = _entries(entry.path)
        if self.for_images and is_output(entry.path, {inner.name for inner in entries}):
            self.found.outputs.append(name)
        else:
            yield from self.walk(f"{name}/", entries)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list the folder {folder!r}: {error.strerror or error}") from error


def _is_output(entry: os.DirEntry[str]) -> bool:
    try:
        return is_output(entry.path, set(os.listdir(entry.path)))
    except OSError:  # the search reports it
        return False
