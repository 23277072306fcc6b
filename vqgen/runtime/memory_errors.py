"""Work that does not fit into memory: an error of its own, so that the picture is named and the others go on.

Every library says it in its own way: Python, NumPy and Pillow raise `MemoryError`, torch a `RuntimeError` with a text
of the allocator or of the library that convolves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vqgen.errors import DataError

_TEXTS = (
    "can't allocate memory",  # torch on a CPU
    "not enough memory",  # torch on a CPU under Windows
    "could not create a memory",  # oneDNN
    "could not create a primitive",  # oneDNN, for want of memory for its code
    "out of memory",  # CUDA and MPS
    "bad_alloc",  # C++
    "can't start new thread",  # Python, for want of memory for its stack
)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns True if an error says that memory could not be had."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


@contextmanager
def named_memory_errors(owner: str, bytes_needed: int) -> Iterator[None]:
    """Turns errors of the block that are about memory into one that names the work.

    Args:
        owner: The work, for example "an image of 4000 x 3000".
        bytes_needed: Bytes that it takes, about.

    Raises:
        DataError: The block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise not_enough_memory(owner, bytes_needed) from error


def not_enough_memory(owner: str, bytes_needed: int, free: int | None = None) -> DataError:
    """Builds the error of work that does not fit into memory.

    Args:
        owner: As in `named_memory_errors`.
        bytes_needed: Bytes that it takes, about.
        free: Bytes that are free; None if they are not known.
    """
    found = "less" if free is None else f"{_megabytes(free)} MB"
    return DataError(
        f"{owner} takes about {_megabytes(bytes_needed)} MB beside the program: so much should be free, found {found}; "
        "scale or crop it, or give the program more memory"
    )


def _megabytes(size: int) -> str:
    return f"{max(1, round(size / 1e6))}"
