"""Settings of a process that have to come before torch is imported. This module imports no torch."""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LARGEST_BLOCK = 32 * 2**20
"""Bytes of the largest block that glibc takes from its heap; it accepts no more."""

_RETURNED_BLOCK = 8 * 2**20
"""Bytes of the least block that is given back while large pictures pass."""

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""Numbers of these options of `mallopt`, from malloc.h."""

_allocators: list[ctypes.CDLL] = []
"""The C library, if this process keeps freed memory."""

_returning = 0
"""Blocks of `returning_memory` that run now, in all threads."""

_changing = threading.Lock()

_CYCLES = (10_000, 20, 100)
"""New objects until Python searches them for cycles, and searches until it takes the older ones in."""


def prepare_process() -> None:
    """Makes many small operations on a CPU cheap, also beside other programs."""
    wait_without_spinning()
    keep_freed_memory()
    search_cycles_seldom()


def search_cycles_seldom() -> None:
    """Lets Python's garbage collector start after ten thousand new objects, not after some hundreds.

    Imports, and the lists of a large folder, make objects by the million that all stay. The searches among them took a
    fifth of a second start over 100,000 files. Objects without cycles are freed at once, with the tensors that they
    hold: trainings and samples make no cycles.
    """
    if gc.isenabled():
        gc.set_threshold(*_CYCLES)


def wait_without_spinning() -> None:
    """Lets waiting threads of OpenMP sleep, unless the environment says how they should wait.

    By default a thread spins for milliseconds at the end of each product. If another program needs the core, the
    spinning thread keeps the one that it waits for from running: a training step then takes fifty times as long.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def keep_freed_memory() -> None:
    """Keeps freed memory in the process, if it runs on glibc, unless the environment sets the allocator.

    By default a large tensor goes back to the system when it is freed, and the next one costs a page fault for every
    4 KiB: thousands in a training step.
    """
    is_set = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.getenv("GLIBC_TUNABLES", "")
    if is_set or sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        _allocators.append(libc)


@contextmanager
def returning_memory() -> Iterator[None]:
    """Gives freed memory back to the system, in a process that keeps it: all that is free, and blocks of 8 MiB or more.

    A large picture passes a model in windows, whose features are blocks of many sizes. Kept ones leave holes that
    others do not fit: more than 100 MiB at the peak. Windows are few, so that their page faults cost little.
    """
    _count_returning(1)
    try:
        yield
    finally:
        _count_returning(-1)


def _count_returning(change: int) -> None:
    """Sets the allocator, which all threads share, when the first block begins and when the last one ends."""
    global _returning
    with _changing:
        _returning += change
        if _returning != max(change, 0):
            return
        for libc in _allocators:
            libc.mallopt(_MMAP_THRESHOLD, _RETURNED_BLOCK if _returning else _LARGEST_BLOCK)
            libc.malloc_trim(0)
