"""The check before training that every image file can be decoded."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor

from vqgen.data.image_set import ImageSet
from vqgen.errors import DataError
from vqgen.runtime.turns import is_first, processes_here, shared_out

_logger = logging.getLogger("vqgen.data")
_NAMES_LOGGED = 20
_NAMES_IN_ERROR = 5
_BLOCK = 64
"""Images that a thread decodes per task."""


def check_readable(images: ImageSet, max_unreadable: float, threads: int | None = None) -> tuple[ImageSet, list[str]]:
    """Decodes every image once and leaves out the unreadable ones.

    It decodes whole images, because their headers do not show that a file was cut short. For a large folder this costs
    minutes, once, and saves a run that dies after hours. In a distributed run each process decodes its share, and
    all processes must call this.

    Args:
        images: Images to check.
        max_unreadable: Largest accepted share of unreadable images, in [0, 1].
        threads: Threads that decode; None takes one for each processor that this process may use.

    Returns:
        The readable images, in order, and the names of the unreadable ones.

    Raises:
        DataError: More than `max_unreadable` of the images cannot be read, or none can.
    """
    threads = threads or max(1, _processors() // processes_here())
    # Every process receives the failures of all: they must agree on the images that are left.
    failures = dict(shared_out(lambda indices: _failures(images, indices, threads), len(images)))
    names = [images.names[index] for index in failures]
    if not names:
        return images, []
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
    return images.subset([index for index in range(len(images)) if index not in failures]), names


def _failures(images: ImageSet, indices: range, threads: int) -> list[tuple[int, str]]:
    blocks = [indices[start : start + _BLOCK] for start in range(0, len(indices), _BLOCK)]
    with ThreadPoolExecutor(threads) as pool:
        return [failure for found in pool.map(lambda block: _try(images, block), blocks) for failure in found]


def _try(images: ImageSet, indices: range) -> list[tuple[int, str]]:
    found = []
    for index in indices:
        try:
            images.read(index)
        except DataError as error:
            found.append((index, str(error)))
    return found


def _processors() -> int:
    # Not every system has sched_getaffinity, the count that respects a limit on this process.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
