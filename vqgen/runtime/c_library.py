"""C functions of vqgen, compiled at first use with the C compiler of the machine, if it has one.

    source, compiler, processor --> a name in the user's cache --> found there, or compiled into it --> ctypes

A package cannot ship them: the fastest instructions differ from processor to processor. Every caller has a slower way
in torch, so a machine without a compiler misses nothing but time.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from vqgen.storage.home import cache_folder

logger = logging.getLogger(__name__)

SWITCH = "VQGEN_C"
"""Environment variable: 0 leaves compiled functions out."""

_OPTIONS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-lm")

_TRIES = (("-fopenmp",), ())
"""Options of each attempt: a compiler may lack OpenMP, and then the functions have one thread."""

_SECONDS = 60
"""Time that the compiler may take."""


@lru_cache(maxsize=8)
def load_library(source: Path, *included: Path) -> ctypes.CDLL | None:
    """Loads the functions of a C file, compiled for this processor.

    The library is stored in the cache of the user (see `cache_folder`), under a name that depends on the sources, the
    compiler and the processor. So it is compiled once, in about a second.

    Args:
        source: The C file.
        included: The files beside it that it includes.

    Returns:
        None if the machine has no C compiler (on Windows none is looked for), if it fails, if no cache can be written,
        or if the environment variable `VQGEN_C` is 0.
    """
    compiler = _compiler()
    if compiler is None or os.environ.get(SWITCH) == "0":
        return None
    try:
        return ctypes.CDLL(str(_compiled((source, *included), compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("%s: not compiled: %s", source.name, error)
        return None


def _compiler() -> str | None:
    if sys.platform == "win32":  # its compilers have other options and other libraries
        return None
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _compiled(sources: tuple[Path, ...], compiler: str) -> Path:
    """Returns the library of the first source, and compiles it unless it is in the cache."""
    # The macros name the version of the compiler and every instruction set of the processor: users share a home
    # between machines.
    macros = _run([compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    read = b"".join(source.read_bytes() for source in sources)
    key = hashlib.sha256(read + macros + repr((_OPTIONS, _TRIES)).encode()).hexdigest()[:16]
    folder = cache_folder()
    library = folder / f"{sources[0].stem}-{key}.so"
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(sources[0], compiler, library)
    return library


def _compile(source: Path, compiler: str, library: Path) -> None:
    # Renamed when it is whole: other processes may compile the same file now, or load it.
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch) / library.name
        for position, extra in enumerate(_TRIES):
            try:
                _run([compiler, *_OPTIONS[:-1], *extra, str(source), "-o", str(made), _OPTIONS[-1]])
                break
            except subprocess.CalledProcessError:
                if position == len(_TRIES) - 1:
                    raise
        made.replace(library)


def _run(words: list[str]) -> bytes:
    return subprocess.run(words, check=True, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL).stdout
