"""The check before training that every image file can be decoded."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from vqgen.config import DataConfig
from vqgen.data.image_set import FileReader, ImageSet
from vqgen.data.pictures import Reading
from vqgen.data.pictures.extents import Extent, common_range, little_used, told_range
from vqgen.errors import DataError
from vqgen.runtime.turns import is_first, processes_here, shared_out

_logger = logging.getLogger("vqgen.data")
_NAMES_LOGGED = 20
_NAMES_IN_ERROR = 5
_BLOCK = 64
"""Images that a thread decodes per task."""


class Checked(NamedTuple):
    """A set that was decoded once.

    Attributes:
        images: The readable images, in order.
        unreadable: Names of the unreadable ones.
        extents: Index of each readable file in the set that was checked -> the values of its samples.
    """

    images: ImageSet
    unreadable: list[str]
    extents: dict[int, Extent]

    def extents_of(self, indices: range) -> list[Extent]:
        """Returns the values of the readable files at `indices`."""
        return [self.extents[index] for index in indices if index in self.extents]


def check_readable(images: ImageSet, max_unreadable: float, threads: int | None = None) -> Checked:
    """Decodes every image once and leaves out the unreadable ones.

    It decodes whole images, because their headers do not show that a file was cut short. For a large folder this costs
    minutes, once, and saves a run that dies after hours. In a distributed run each process decodes its share, and
    all processes must call this.

    Args:
        images: Images to check.
        max_unreadable: Largest accepted share of unreadable images, in [0, 1].
        threads: Threads that decode; None takes one for each processor that this process may use.

    Returns:
        The readable images, the names of the unreadable ones, and the values that were found.

    Raises:
        DataError: More than `max_unreadable` of the images cannot be read, or none can.
    """
    threads = threads or max(1, _processors() // processes_here())
    # Every process receives the failures of all: they must agree on the images that are left.
    found = dict(shared_out(lambda indices: _decode_all(images, indices, threads), len(images)))
    failures = {index: result for index, result in found.items() if isinstance(result, str)}
    extents = {index: result for index, result in found.items() if isinstance(result, Extent)}
    names = [images.names[index] for index in failures]
    if not names:
        return Checked(images, [], extents)
    counted = f"{len(names)} of {len(images)} images"
    if len(names) > max_unreadable * len(images) or len(names) == len(images):
        shown = ", ".join(names[:_NAMES_IN_ERROR]) + (", ..." if len(names) > _NAMES_IN_ERROR else "")
        raise DataError(
            f"unreadable images should be at most {max_unreadable:.4g} of all, found {len(names) / len(images):.4g} "
            f"({counted}): {shown} (the first: {next(iter(failures.values()))}). "
            "Repair or remove them, or raise --data.max-unreadable"
        )
    if is_first():
        lines = [*list(failures.values())[:_NAMES_LOGGED], *(["..."] if len(names) > _NAMES_LOGGED else [])]
        _logger.warning("%s cannot be read and are left out:\n  %s", counted, "\n  ".join(lines))
    kept = images.subset([index for index in range(len(images)) if index not in failures])
    return Checked(kept, names, extents)


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


_Result = str | Extent | None
"""The reason why an image cannot be read, or the values of its samples; None for an image that is in no file."""


def _decode_all(images: ImageSet, indices: range, threads: int) -> list[tuple[int, _Result]]:
    blocks = [indices[start : start + _BLOCK] for start in range(0, len(indices), _BLOCK)]
    with ThreadPoolExecutor(threads) as pool:
        return [result for found in pool.map(lambda block: _decode(images, block), blocks) for result in found]


def _decode(images: ImageSet, indices: range) -> list[tuple[int, _Result]]:
    # Samples without a range are measured here; pictures of them can be made only when all are measured.
    act = images.read.measure if isinstance(images.read, FileReader) else images.read
    found: list[tuple[int, _Result]] = []
    for index in indices:
        try:
            result = act(index)
        except DataError as error:
            result = str(error)
        if isinstance(result, _Result):
            found.append((index, result))
    return found


def _processors() -> int:
    # Not every system has sched_getaffinity, the count that respects a limit on this process.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
