"""The check before training that every image file can be decoded."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from vqgen.config import DataConfig
from vqgen.data.image_set import FileReader, ImageSet
from vqgen.data.pictures import Reading
from vqgen.data.pictures.extents import Extent, common_range, little_used, told_range
from vqgen.errors import DataError, ReadError
from vqgen.runtime.turns import is_first, processes_here, shared_out
from vqgen.storage.names import counted

_logger = logging.getLogger("vqgen.data")
_NAMES_LOGGED = 20
_NAMES_IN_ERROR = 5
_BLOCK = 64
"""Images that a thread decodes per task."""


class Checked(NamedTuple):
    """A set that was decoded once.

    Attributes:
        images: The readable images, in order.
        unreadable: Index of each unreadable one in the set that was checked -> the reason.
        extents: Index of each readable file in that set -> the values of its samples; None if they have no values.
    """

    images: ImageSet
    unreadable: dict[int, str]
    extents: dict[int, Extent | None]

    def extents_of(self, indices: range) -> list[Extent]:
        """Returns the values of the readable files at `indices`."""
        return [extent for index in indices if (extent := self.extents.get(index)) is not None]


def check_readable(
    images: ImageSet,
    max_unreadable: float,
    threads: int | None = None,
    *,
    known: Mapping[int, Extent | None] | None = None,
    left_out: Mapping[int, str] | None = None,
) -> Checked:
    """Decodes every image once and leaves out the unreadable ones.

    It decodes whole images, because their headers do not show that a file was cut short. For a large folder this costs
    minutes, once, and saves a run that dies after hours. In a distributed run each process decodes its share, and
    all processes must call this.

    Args:
        images: Images to check.
        max_unreadable: Largest accepted share of unreadable images, in [0, 1].
        threads: Threads that decode; None takes one for each processor that this process may use.
        known: Index of each image that is known to be readable -> the values of its samples. It is not decoded.
        left_out: Index of each image that is known to be unreadable -> the reason. It is not decoded.

    Returns:
        The readable images, the unreadable ones, and the values that were found.

    Raises:
        DataError: More than `max_unreadable` of the images cannot be read, or none can.
        ReadError: The system failed to read an image, so it is not known whether the image is sound.
    """
    threads = threads or max(1, _processors() // processes_here())
    known = known or {}
    left_out = left_out or {}
    open_ones = [index for index in range(len(images)) if index not in known and index not in left_out]
    # Every process receives the failures of all: they must agree on the images that are left.
    results = shared_out(
        lambda part: _decode_all(images, [open_ones[place] for place in part], threads), len(open_ones)
    )
    for _, result in results:
        if isinstance(result, ReadError):
            raise result
    found = {**known, **left_out, **dict(results)}
    failures = {index: result for index, result in sorted(found.items()) if isinstance(result, str)}
    extents = {index: result for index, result in found.items() if result is None or isinstance(result, Extent)}
    if failures:
        _tell_of_failures(images, failures, max_unreadable)
    kept = images.subset([index for index in range(len(images)) if index not in failures]) if failures else images
    return Checked(kept, failures, extents)


def _tell_of_failures(images: ImageSet, failures: Mapping[int, str], max_unreadable: float) -> None:
    """Warns of the images that cannot be read, or refuses them if they are too many."""
    names = [images.names[index] for index in failures]
    share = f"{len(names):,} of {counted(len(images), 'image')}"
    if len(names) > max_unreadable * len(images) or len(names) == len(images):
        shown = ", ".join(names[:_NAMES_IN_ERROR]) + (", ..." if len(names) > _NAMES_IN_ERROR else "")
        raise DataError(
            f"unreadable images should be at most {max_unreadable:.4g} of all, found {len(names) / len(images):.4g} "
            f"({share}): {shown} (the first: {next(iter(failures.values()))}). "
            "Repair or remove them, or raise --data.max-unreadable"
        )
    if is_first():
        lines = [*list(failures.values())[:_NAMES_LOGGED], *(["..."] if len(names) > _NAMES_LOGGED else [])]
        _logger.warning("%s cannot be read and are left out:\n  %s", share, "\n  ".join(lines))


def settled_reading(data: DataConfig, extents: list[Extent]) -> Reading:
    """Returns the reading rules of a run, with the range of the samples that have none of their own.

    It warns once of a range that was measured, and of samples that use a small part of their range.

    Args:
        data: The rules, and ranges that are known.
        extents: The values of the training images.
    """
    reading = Reading.of(data)
    if reading.rules == 1:
        return reading
    if reading.value_range is None and reading.measured_range is None:
        reading = replace(reading, measured_range=common_range(extents))
        if reading.measured_range is not None and is_first():
            _logger.warning("%s", told_range(extents, reading.measured_range))
    if is_first():
        for line in little_used(extents, reading.value_range, reading.measured_range):
            _logger.warning("%s", line)
    return reading


_Result = str | Extent | ReadError | None
"""The reason why an image cannot be read, or the values of its samples; None for a sound image without such values."""


def _decode_all(images: ImageSet, indices: Sequence[int], threads: int) -> list[tuple[int, _Result]]:
    blocks = [indices[start : start + _BLOCK] for start in range(0, len(indices), _BLOCK)]
    with ThreadPoolExecutor(threads) as pool:
        return [result for found in pool.map(lambda block: _decode(images, block), blocks) for result in found]


def _decode(images: ImageSet, indices: Sequence[int]) -> list[tuple[int, _Result]]:
    # Samples without a range are measured here; pictures of them can be made only when all are measured.
    act = images.read.measure if isinstance(images.read, FileReader) else images.read
    found: list[tuple[int, _Result]] = []
    for index in indices:
        try:
            result = act(index)
            # Images in no file are read, and the picture is dropped.
            found.append((index, result if isinstance(result, Extent) else None))
        except ReadError as error:
            found.append((index, error))
        except DataError as error:
            found.append((index, str(error)))
    return found


def _processors() -> int:
    # Not every system has sched_getaffinity, the count that respects a limit on this process.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
