"""Errors of the system while a file is read: a broken disk, a lost server or little memory is no verdict on the file.

A picture that counts as unreadable leaves the data set. So these errors end the work, and the next start has the same
set. What the file itself is to blame for (it is missing, is a folder, or may not be read) stays a verdict.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from vqgen.errors import ReadError

_OF_THE_FILE = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,  # a socket
        errno.EINVAL,  # a damaged file sends its reader to a place before the begin
        errno.EOVERFLOW,
        errno.EFBIG,
    }
)
"""Error numbers that the next attempt would have too, because the file is as it is."""

_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "close other programs, or raise the limit of open files of this machine",
    errno.ENOMEM: "close other programs, or give this one more memory",
}

_BUFFER = 1 << 16

_NO_MEMORY = "out of memory error"
"""The begin of the text of Pillow when one of its decoders got no memory."""


class _Watched(io.FileIO):
    """A file that remembers an error of its reads: decoders of damaged pictures swallow errors and go on."""

    failure: OSError | None = None

    def readinto(self, buffer, /) -> int | None:  # type: ignore[no-untyped-def]
        try:
            return io.FileIO.readinto(self, buffer)
        except OSError as error:
            self.failure = error
            raise

    def readall(self) -> bytes:
        try:
            return io.FileIO.readall(self)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def open_watched(path: Path) -> Iterator[BufferedIOBase]:
    """Opens a file for reading. A read that fails is raised at the end of the block, even if a decoder swallowed it.

    Args:
        path: The file.

    Raises:
        OSError: The file cannot be opened, or a read failed.
    """
    with _Watched(path) as raw, io.BufferedReader(raw, _BUFFER) as file:
        try:
            yield file
        finally:
            if raw.failure is not None:
                raise raw.failure


def system_cause(error: BaseException) -> OSError | MemoryError | None:
    """Returns the error of the system that an error goes back to; None if the file itself is to blame.

    Args:
        error: An error of a reader. It may have been raised while another one was handled.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and _is_of_the_system(each)):
            return each
        each = each.__cause__ or each.__context__
    return None


def read_error(what: str, cause: OSError | MemoryError) -> ReadError:
    """Builds the error of a file that the system could not read.

    Args:
        what: The begin of the message, with the name of the file.
        cause: The error of the system.
    """
    if isinstance(cause, MemoryError) or cause.errno is None:
        return ReadError(f"{what}: there is not enough memory for it; {_REMEDIES[errno.ENOMEM]}, or scale it down")
    remedy = _REMEDIES.get(cause.errno, "the file may be sound: check the disk or the server, and run again")
    return ReadError(f"{what}: {os.strerror(cause.errno)}; {remedy}")


def _is_of_the_system(error: OSError) -> bool:
    if error.errno is None:
        return str(error).startswith(_NO_MEMORY)
    return error.errno not in _OF_THE_FILE
