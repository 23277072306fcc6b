"""The pictures of a run, as a sample of them shows: their size, their colour, and the time to read one."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from vqgen.config import DataConfig
from vqgen.data import ImageCounts, ImageSet, Reading, count_images, find_images, read_image, training_transform
from vqgen.data.squares import Squares
from vqgen.errors import DataError
from vqgen.storage.home import expanded

_MOST = 48
"""Pictures of the sample."""

_MOST_SECONDS = 3.0
"""Time after which the sample is large enough: very large pictures take long to read."""

_CALLS = 3
"""Calls of which the median counts: another program may hold one of them up."""

_KNOWN = {"digits": (8, 1), "cifar10": (32, 3), "cifar100": (32, 3)}
"""Source -> side in pixels and channels of its pictures. The sources that are not listed are of the MNIST family."""

_OF_MNIST = (28, 1)


@dataclass(frozen=True)
class Pictures:
    """Properties of the pictures of a run.

    Attributes:
        counts: Their number in each split, and the labels.
        side: The median of their shorter sides, in pixels.
        is_grey: True if none of the sample has a colour.
        read_seconds: Time to read and decode one of them.
        sample: Some of them.
    """

    counts: ImageCounts
    side: int
    is_grey: bool
    read_seconds: float
    sample: tuple[Image.Image, ...]

    def centre_seconds(self, data: DataConfig) -> float:
        """Measures the time to turn a picture that has been read into a square of pixels."""
        squares = self._squares(data.without_augmentation(), cache=False)
        return self._seconds(squares.centred)

    def random_seconds(self, data: DataConfig) -> float:
        """Measures the time to make a random square: of a picture if it is cropped, or else of its centre square."""
        squares = self._squares(data, cache=True)
        squares.centred(range(len(self.sample)))  # a square that is not cropped is read once
        return self._seconds(lambda indices: squares.random(indices, indices))

    def _squares(self, data: DataConfig, *, cache: bool) -> Squares:
        names = tuple(str(index) for index in range(len(self.sample)))
        images = ImageSet(names, np.full(len(names), -1, dtype=np.int64), self.sample.__getitem__)
        return Squares(images, training_transform(data), cache=cache)

    def _seconds(self, act: Callable[[Sequence[int]], object]) -> float:
        """Returns the time of an act for one picture, from calls for all of the sample."""
        indices = range(len(self.sample))
        act(indices)  # the first call imports and builds tables
        seconds: list[float] = []
        for _ in range(_CALLS):
            begin = time.perf_counter()
            act(indices)
            seconds.append(time.perf_counter() - begin)
        return median(seconds) / len(indices)

    @property
    def text(self) -> str:
        """The pictures in words."""
        counts = self.counts
        labels = f"{counts.classes} labels" if counts.classes else "no labels"
        colour = "grey" if self.is_grey else "colour"
        return (
            f"{counts.train:,} pictures to train on and {counts.validation:,} held out, about {self.side} pixels wide, "
            f"in {colour}, with {labels}; {1000 * self.read_seconds:.2g} ms to read one"
        )


def counted_images(data: DataConfig) -> ImageCounts:
    """Counts the pictures of a source, which has to be there.

    Raises:
        DataError: The folder is missing, ambiguous or empty.
    """
    counts = count_images(data)
    if counts is None:
        raise DataError(f"data.root: should be a folder of images for a budget, found nothing at {data.root!r}")
    return counts


def sample_pictures(data: DataConfig) -> Pictures:
    """Counts the pictures of a source and reads some of them, evenly spread. A set that is downloaded is not opened.

    Raises:
        DataError: The folder is missing, ambiguous or empty, or none of the sample can be read.
    """
    counts = counted_images(data)
    if data.source != "folder":
        side, channels = _KNOWN.get(data.source, _OF_MNIST)
        return Pictures(counts, side, channels == 1, 0.0, _noise(side, channels))
    assert data.root is not None  # counted above
    sample, seconds = _read_some(find_images(expanded(data.root)), data.root, _reading_to_time(data))
    return Pictures(
        counts,
        side=int(median(min(picture.size) for picture in sample)),
        is_grey=all(map(_is_grey, sample)),
        read_seconds=seconds,
        sample=tuple(sample),
    )


def _noise(side: int, channels: int) -> tuple[Image.Image, ...]:
    """Draws stand-ins for the pictures of a set that may not be on this machine: their content takes no time."""
    draws = np.random.default_rng(0)
    shape = (side, side) if channels == 1 else (side, side, channels)
    return tuple(Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8)) for _ in range(_MOST))


def _reading_to_time(data: DataConfig) -> Reading:
    # The run measures the range of samples that have none. Any range takes the same time.
    return Reading.of(data.model_copy(update={"measured_range": data.measured_range or (0.0, 1.0)}))


def _read_some(paths: list[Path], root: str, reading: Reading) -> tuple[list[Image.Image], float]:
    """Reads some pictures, evenly spread, and returns them with the median time to read one.

    The median, because another program that holds up one reading in fifty would double the mean.
    """
    sample: list[Image.Image] = []
    seconds: list[float] = []
    failure: DataError | None = None
    count = min(_MOST, len(paths))
    chosen = [paths[place * len(paths) // count] for place in range(count)]
    with suppress(DataError):
        read_image(chosen[0], reading=reading)  # the first reading loads the decoders
    for path in chosen:
        begin = time.perf_counter()
        try:
            sample.append(read_image(path, reading=reading))
        except DataError as error:  # the run itself counts unreadable pictures, and refuses too many
            failure = error
        seconds.append(time.perf_counter() - begin)
        if sample and sum(seconds) > _MOST_SECONDS:
            break
    if not sample:
        raise DataError(
            f"data.root: should be a folder of images that can be read, found none among {count} of {root!r} "
            f"(the last: {failure})"
        )
    return sample, median(seconds)


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode == "L":
        return True
    red, green, blue = (np.asarray(band, dtype=np.int16) for band in picture.split())
    return bool((red == green).all() and (green == blue).all())
