"""Image files that a user names: files and folders, with the names that their outputs will have."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.data import ImageSet, LabelMap


def collect_images(paths: Sequence[str], label_map: "LabelMap", *, keep_alpha: bool = False) -> "ImageSet":
    """Finds the images that paths name; folders are searched through.

    Args:
        paths: Files and folders. A file found in a folder is named by its path below it, others by their name.
        label_map: A file below a folder that is called like a label has that label.
        keep_alpha: Read transparency too, instead of laying it on white.

    Raises:
        DataError: A path does not exist, or there is no image.
        ConfigError: Two images would have the same name.
    """
    import numpy as np

    from vqgen.data import IMAGE_SUFFIXES, FileReader, ImageSet, find_images

    files: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        found = (
            {file.relative_to(path).as_posix(): file for file in find_images(path)}
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
        raise DataError(f"{', '.join(paths)}: there is no image; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
    labels = np.array([_label_of(Path(name), label_map) for name in files], dtype=np.int64)
    return ImageSet(names=tuple(files), labels=labels, read=FileReader(list(files.values()), keep_alpha))


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
