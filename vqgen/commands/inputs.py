"""The files on a command line: finds them in folders, and names their outputs."""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vqgen.errors import ConfigError, DataError
from vqgen.storage.names import comparable

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.commands.tally import Tally
    from vqgen.data import ImageSet, LabelMap, Reading


T = TypeVar("T")

_logger = logging.getLogger("vqgen.commands")

_PIXELS_AT_A_TIME = 1 << 22
"""Pixels of a batch of pictures, at most, unless a single picture has more."""

_IMAGES_AT_A_TIME = 256
"""Pictures of a batch, at most."""


def collect_images(
    paths: Sequence[str], label_map: "LabelMap", *, keep_alpha: bool = False, reading: "Reading | None" = None
) -> "ImageSet":
    """Finds the images at the given paths.

    Args:
        paths: Files and folders; see `collect_files`.
        label_map: The names of the labels. An image below a folder of this name has this label.
        keep_alpha: Read transparency too; False blends images with white.
        reading: The reading rules of the model; None for the newest ones.

    Raises:
        DataError: A path does not exist, or there is no image.
        ConfigError: Two images would have the same name.
    """
    import numpy as np

    from vqgen.data import FileReader, ImageSet, Reading, image_suffixes

    files = collect_files(paths, image_suffixes(), "image", for_images=True)
    folders = _folders_of(label_map)
    labels = np.array([_label_of(Path(name), folders) for name in files], dtype=np.int64)
    return ImageSet(
        names=tuple(files), labels=labels, read=FileReader(list(files.values()), keep_alpha, reading or Reading())
    )


def collect_files(
    paths: Sequence[str], suffixes: Collection[str], what: str, *, for_images: bool = False
) -> dict[str, Path]:
    """Finds the files at the given paths, and warns of those that it passes over: see `search_files`.

    Args:
        paths: Files and folders, whose subfolders are searched too. The name of a file in a folder is its path below
            the folder. The name of any other file is its file name.
        suffixes: Endings of the files to find in folders. A file that is given itself may have any ending.
        what: The kind of files, for messages.
        for_images: True for images: see `search_files`.

    Returns:
        Name -> file.

    Raises:
        DataError: The only path does not exist, or there is no such file.
        ConfigError: Two files would have the same name.
    """
    from vqgen.data import search_files

    files: dict[str, Path] = {}
    notes: list[str] = []
    for path in map(Path, paths):
        # One of several paths that is missing fails alone, when it is read. A broken link is a file, too.
        if len(paths) == 1 and not os.path.lexists(path):
            raise DataError(f"{path}: there is no such file or folder")
        found = {path.name: path}
        if os.path.isdir(path):
            search = search_files(path, suffixes, for_images=for_images)
            found = {file.relative_to(path).as_posix(): file for file in search.paths}
            notes += search.notes
        twice = files.keys() & found.keys()
        if twice:
            name = min(twice)
            raise ConfigError(
                f"{found[name]}: would be written to the same place as {files[name]}; give them one by one"
            )
        files |= found
    if not files:
        passed_over = "".join(f"; {note}" for note in notes)
        raise DataError(
            f"{', '.join(paths)}: there is no {what}{passed_over}; supported are {', '.join(sorted(suffixes))}"
        )
    for note in notes:
        _logger.warning("%s", note)
    return files


def batches(items: "Iterable[T]", pixels: "Callable[[T], int]") -> "Iterator[list[T]]":
    """Splits pictures into batches that fit into memory. A large picture is a batch of its own.

    The next item is read when the work on a large one has ended, so that memory holds one of them at a time. The caller
    keeps no reference to it.

    Args:
        items: Pictures, or files of pictures, in any order. Batches keep it.
        pixels: Counts the pixels of one item.

    Yields:
        The next batch, never empty.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        size = pixels(item)
        if batch and (total + size > _PIXELS_AT_A_TIME or len(batch) >= _IMAGES_AT_A_TIME):
            yield batch
            batch = []
            total = 0
        batch.append(item)
        total += size
        del item
        if total > _PIXELS_AT_A_TIME:
            yield batch
            batch = []
            total = 0
    if batch:
        yield batch


def read_all(images: "ImageSet", tally: "Tally") -> "Iterator[tuple[str, Image]]":
    """Yields each image with its name. The tally names those that cannot be read."""
    numbered = ((name, index) for index, name in enumerate(images.names))
    return tally.read(numbered, images.read)


def _folders_of(label_map: "LabelMap") -> dict[str, int]:
    """Returns the names of folders that stand for a label: its name, and the folder of its samples."""
    from vqgen.reports.samples import label_folders

    names = [*label_folders(label_map), *label_map.names]  # names go last, so that they win
    indices = [*range(len(label_map)), *range(len(label_map))]
    return {comparable(name): index for name, index in zip(names, indices, strict=True)}


def _label_of(name: Path, folders: dict[str, int]) -> int:
    """Returns the label that the innermost folder is named after; -1 if no folder has the name of a label."""
    return next(
        (index for part in reversed(name.parent.parts) if (index := folders.get(comparable(part))) is not None), -1
    )
