"""Sets of images with names and labels, and the splits of a source."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqgen.config.data import ValueRange
from vqgen.data.exclusions import Exclusion
from vqgen.data.label_map import LabelMap
from vqgen.data.pictures import Reading
from vqgen.data.pictures.extents import Extent
from vqgen.data.reading import mark_read, measure_image, read_image


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images that can be read one by one.

    Attributes:
        names: One name per image, all different: the relative path with `/`, or for example `train/00017`.
        labels: `(n,)`, an index into the label map for each image; -1 without a label.
        read: Index -> picture in mode `L` or `RGB`; may raise `DataError`. It can be pickled, for worker processes.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[int], Image.Image]

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.names),):
            raise ValueError(f"labels should be one per name ({len(self.names)}), found shape {self.labels.shape}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("names of images should all be different, found some more than once")

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        """Returns the images at `indices`, in that order."""
        picked = np.asarray(indices, dtype=np.int64)
        return ImageSet(
            tuple(self.names[index] for index in picked), self.labels[picked], SubsetReader(self.read, picked)
        )


@dataclass(frozen=True, eq=False)
class ImageSplits:
    """The sets of a source, and their identity.

    Attributes:
        train: Images to train on.
        validation: Held-out images; at least one.
        test: The source's own test images, if it has some.
        label_map: Names of the labels; empty if training is without labels.
        indices: Split -> indices of its images in the source's own order. They count torchvision's train or test set,
            the sorted files of the split's folder, or the whole source if it has no splits.
        fingerprint: SHA-256, in hex, of the images: names, labels and pixels, or the bytes of the files for folders.
            Neither the place of the folder nor the seed of the split changes it.
        unreadable: Name of each file that is left out because it cannot be read -> the verdict on it.
        measured_range: Values of black and white of the training images whose samples have no range of their own; None
            without such images.
        earlier_fingerprints: Fingerprints of the same images in records of earlier versions: sizes of files stood for
            their bytes.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    label_map: LabelMap
    indices: dict[str, list[int]]
    fingerprint: str
    unreadable: Mapping[str, Exclusion] = field(default_factory=dict)
    measured_range: ValueRange | None = None
    earlier_fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """A reader of pictures in an array.

    Attributes:
        pixels: uint8 `(n, h, w)` for grey or `(n, h, w, 3)` for RGB.
    """

    pixels: NDArray[np.uint8]

    def __call__(self, index: int) -> Image.Image:
        """Returns one picture, a copy of its pixels. No reading rule applies to it."""
        return mark_read(Image.fromarray(self.pixels[index]))


@dataclass(frozen=True, eq=False)
class FileReader:
    """A reader of pictures in files.

    Attributes:
        paths: One file per image.
        keep_alpha: As in `normalize_mode`.
        reading: The reading rules.
    """

    paths: Sequence[Path]
    keep_alpha: bool = False
    reading: Reading = field(default_factory=Reading)

    def __call__(self, index: int) -> Image.Image:
        """Reads one file."""
        return read_image(self.paths[index], keep_alpha=self.keep_alpha, reading=self.reading)

    def measure(self, index: int) -> Extent | None:
        """Decodes one file and measures its samples; None under the first reading rules, which know no ranges."""
        if self.reading.rules == 1:
            self(index)
            return None
        return measure_image(self.paths[index])


@dataclass(frozen=True, eq=False)
class SubsetReader:
    """A reader of some of another reader's pictures.

    Attributes:
        read: The other reader.
        indices: `(n,)`, the other reader's index of each picture.
    """

    read: Callable[[int], Image.Image]
    indices: NDArray[np.int64]

    def __call__(self, index: int) -> Image.Image:
        """Reads one picture."""
        return self.read(int(self.indices[index]))


def fingerprint(label_map: LabelMap, parts: Sequence[tuple[ImageSet, NDArray]]) -> str:
    """Hashes the names, labels and contents of images.

    Args:
        label_map: Names of the labels.
        parts: Sets of images, each with an array that stands for their contents: pixels, or hashes of files.

    Returns:
        A SHA-256, in hex.
    """
    digest = hashlib.sha256(json.dumps(label_map.names).encode())
    for images, contents in parts:
        # dtype and shape: the same bytes in another form are other images, and no part runs into the next.
        header = [images.names, images.labels.tolist(), contents.dtype.str, contents.shape]
        digest.update(json.dumps(header).encode())
        digest.update(np.ascontiguousarray(contents).data)
    return digest.hexdigest()
