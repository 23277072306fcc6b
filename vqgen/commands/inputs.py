"""Image files that a user names: files and folders, with the names that their outputs will have."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.data import ImageSet, LabelMap


T = TypeVar("T")

_PIXELS_AT_ONCE = 1 << 20

_IMAGES_AT_ONCE = 256


def collect_images(paths: Sequence[str], label_map: "LabelMap", *, keep_alpha: bool = False) -> "ImageSet":
    """Finds the images that paths name; folders are searched through.

    Args:
        paths: Files and folders, named as `collect_files` names them.
        label_map: A file below a folder that is called like a label has that label.
        keep_alpha: Read transparency too, instead of laying it on white.

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
    """Finds the files that paths name; folders are searched through.

    Args:
        paths: Files and folders. A file found in a folder is named by its path below it, others by their name.
        suffixes: Endings of the files that are looked for in folders.
        what: What such a file is called.

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
        raise DataError(f"{', '.join(paths)}: there is no {what}; known are {', '.join(sorted(suffixes))}")
    return files


def batches(items: "Iterable[T]", pixels: "Callable[[T], int]") -> "Iterator[list[T]]":
    """Takes some pictures at a time, so many as memory and the models take well; the largest go alone.

    Args:
        items: Pictures, or what becomes pictures.
        pixels: How many pixels one has.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        size = pixels(item)
        if batch and (total + size > _PIXELS_AT_ONCE or len(batch) >= _IMAGES_AT_ONCE):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def read_all(images: "ImageSet") -> "Iterator[tuple[str, Image]]":
    """Reads image after image with its name; what cannot be read is said on stderr and left out."""
    for index, name in enumerate(images.names):
        try:
            yield name, images.read(index)
        except DataError as error:
            print(f"vqgen: {error}", file=sys.stderr)


def _label_of(name: Path, label_map: "LabelMap") -> int:
    """The index of the innermost folder that is called like a label; -1 for none."""
    for part in reversed(name.parent.parts):
        if part in label_map.names:
            return label_map.names.index(part)
    return -1
