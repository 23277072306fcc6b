"""The files on a command line: finds them in folders, and names their outputs."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.data import ImageSet, LabelMap


T = TypeVar("T")

_PIXELS_AT_A_TIME = 1 << 20
"""Pixels of a batch of pictures, at most, unless a single picture has more."""

_IMAGES_AT_A_TIME = 256
"""Pictures of a batch, at most."""


def collect_images(paths: Sequence[str], label_map: "LabelMap", *, keep_alpha: bool = False) -> "ImageSet":
    """Finds the images at the given paths.

    Args:
        paths: Files and folders; see `collect_files`.
        label_map: The names of the labels. An image below a folder of this name has this label.
        keep_alpha: Read transparency too; False blends images with white.

    Raises:
        DataError: A path does not exist, or there is no image.
        ConfigError: Two images would have the same name.
    """
    import numpy as np

    from vqgen.data import IMAGE_SUFFIXES, FileReader, ImageSet

    files = collect_files(paths, IMAGE_SUFFIXES, "image")
    labels = np.array([_label_of(Path(name), label_map) for name in files], dtype=np.int64)
    return ImageSet(names=tuple(files), labels=labels, read=FileReader(list(files.values()), keep_alpha))


def collect_files(paths: Sequence[str], suffixes: Collection[str], what: str) -> dict[str, Path]:
    """Finds the files at the given paths.

    Args:
        paths: Files and folders, whose subfolders are searched too. The name of a file in a folder is its path below
            the folder. The name of any other file is its file name.
        suffixes: Endings of the files to find in folders. A file that is given itself may have any ending.
        what: The kind of files, for messages.

    Returns:
        Name -> file.

    Raises:
        DataError: A path does not exist, or there is no such file.
        ConfigError: Two files would have the same name.
    """
    from vqgen.data import find_files

    files: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        found = (
            {file.relative_to(path).as_posix(): file for file in find_files(path, suffixes)}
            if path.is_dir()
            else {path.name: path}
        )
        twice = files.keys() & found.keys()
        if twice:
            name = min(twice)
            raise ConfigError(
                f"{found[name]}: would be written to the same place as {files[name]}; give them one by one"
            )
        files |= found
    if not files:
        raise DataError(f"{', '.join(paths)}: there is no {what}; supported are {', '.join(sorted(suffixes))}")
    return files


def batches(items: "Iterable[T]", pixels: "Callable[[T], int]") -> "Iterator[list[T]]":
    """Splits pictures into batches that fit into memory. A very large picture is a batch of its own.

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
    if batch:
        yield batch


def read_all(images: "ImageSet") -> "Iterator[tuple[str, Image]]":
    """Yields each image with its name. An image that cannot be read is reported on stderr and left out."""
    for index, name in enumerate(images.names):
        try:
            yield name, images.read(index)
        except DataError as error:
            print(f"vqgen: {error}", file=sys.stderr)


def _label_of(name: Path, label_map: "LabelMap") -> int:
    """Returns the label that the innermost folder is named after; -1 if no folder has the name of a label."""
    for part in reversed(name.parent.parts):
        if part in label_map.names:
            return label_map.names.index(part)
    return -1
