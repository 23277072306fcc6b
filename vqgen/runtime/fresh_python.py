"""A fresh Python that works for this one, and words for its end.

    this process --- stdin: where to look for modules, the main function, then all that it reads ---> fresh Python
                 <--- stdout: all that it writes

It searches for modules where this process does, and imports the module of its main function and nothing else.
`multiprocessing` would either run the main module of this process again, which a script without a `__main__` guard does
not survive, or copy the process with the locks that its threads hold.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO, cast

_PROGRAM = (
    "import os, pickle, sys; pipe = os.fdopen(os.dup(0), 'rb'); "
    "sys.path[:] = pickle.load(pipe); pickle.load(pipe)(pipe)"
)
"""The program of a fresh Python. The pipe is a copy of stdin, so that the main function may close stdin."""


class FreshPython:
    """A running process.

    Args:
        main: The main function, of a module that can be imported. Its argument is the pipe from this process.
        variables: Environment variables beside those of this process.
        process_group: 0 starts a process group of its own; None stays in this one's.

    Attributes:
        stdin: The pipe to the process.
        stdout: The pipe from the process.
    """

    def __init__(
        self, main: Callable[[BinaryIO], None], variables: Mapping[str, str], *, process_group: int | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
            process_group=process_group,
        )
        self.stdin = cast(BinaryIO, self._process.stdin)
        self.stdout = cast(BinaryIO, self._process.stdout)
        with suppress(BrokenPipeError):  # a process that ended at once: its exit code says why
            self.stdin.write(pickle.dumps(sys.path) + pickle.dumps(main))
            self.stdin.flush()

    def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()

    def wait(self) -> int:
        """Waits for the end of the process, and returns its exit code, or minus the number of the signal."""
        return self._process.wait()


def ending(code: int) -> str:
    """Describes the early end of a process in words that follow its name.

    Args:
        code: Its exit code, or minus the number of the signal that ended it.
    """
    if code >= 0:
        return f"ended early with exit code {code}"
    cause = f"was ended by signal {-code} ({signal.strsignal(-code)})"
    if code != -9:  # SIGKILL, which Windows does not have
        return cause
    return f"{cause}, probably because the memory did not suffice for so many processes: end other programs"
