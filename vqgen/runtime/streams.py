"""The standard files of a command: they are open, and take every text.

A terminal or a pipe may know only ASCII, and a file name may have bytes that are no text at all. Then the signs that
cannot be printed become escapes. A standard file that is closed (`<&-`, or a program without a console) is replaced by
the empty device: otherwise the next file that is opened would take its number, and prints would go into that file.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

_NEVER_FAIL = {"backslashreplace", "replace", "ignore", "xmlcharrefreplace", "namereplace"}
"""Ways to print signs that an encoding lacks; every other one may raise an error."""

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


@contextmanager
def usable_streams() -> Iterator[None]:
    """Makes the standard files of Python usable in the block, and puts them back at its end."""
    with ExitStack() as stack:
        _fill_descriptors(stack)
        for name, mode in _MODES.items():
            if getattr(sys, name) is None:
                stream = stack.enter_context(open(os.devnull, mode, encoding="utf-8"))
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, stream)
        for stream in (sys.stdout, sys.stderr):
            _print_everything(stream, stack)
        yield


def drop_stdout() -> None:
    """Sends stdout to the empty device, because its reader has gone: Python flushes it once more at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _fill_descriptors(stack: ExitStack) -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            stack.callback(os.close, os.open(os.devnull, os.O_RDWR))


def _print_everything(stream: Any, stack: ExitStack) -> None:
    before = getattr(stream, "errors", None)
    # A notebook's own stream has neither, and takes every text.
    if before is None or before in _NEVER_FAIL or not hasattr(stream, "reconfigure"):
        return
    stream.reconfigure(errors="backslashreplace")

    def put_back() -> None:
        with suppress(OSError, ValueError):  # a closed one, or one whose reader has gone
            stream.reconfigure(errors=before)

    stack.callback(put_back)
