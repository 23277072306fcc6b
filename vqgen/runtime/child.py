"""A process that does one long job for another process, tells how it goes on, and stops when it is asked to.

    parent --- stdin:  the job; then nothing, until its end asks the job to stop
    child  --- stdout: messages: it began, progress, printed text, warnings; the last one is the outcome

Both pipes carry pickles. The end of stdin is also the end of the parent, however it came, so no child outlives it for
more than the step that it is in. SIGINT and SIGTERM are blocked in a child (see `children`): a terminal or a cluster
sends them to all processes, and the child would take a second one, passed on by its parent, for impatience.
"""

import _thread
import logging
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import TextIOBase
from threading import Lock, Thread
from typing import Any, BinaryIO

from vqgen.errors import Interrupted, VQGenError, VQGenWarning
from vqgen.runtime.ambient import show_only_own_warnings
from vqgen.runtime.process_start import prepare_process
from vqgen.runtime.progress import ProgressReport, reported_progress
from vqgen.runtime.signals import raising_signals


@dataclass(frozen=True)
class Began:
    """The message that the job has arrived: from now on the end of stdin stops it."""


@dataclass(frozen=True)
class Printed:
    """Text that the job printed: whole lines, without the last line break."""

    text: str


@dataclass(frozen=True)
class Warned:
    """The text of a warning."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The outcome of a job that came to its end."""


@dataclass(frozen=True)
class Stopped:
    """The outcome of a job that was asked to stop, and has saved its work."""


@dataclass(frozen=True)
class Refused:
    """The outcome of a job that raised an error which the user can mend."""

    error: VQGenError | OSError


@dataclass(frozen=True)
class Failed:
    """The outcome of a job that raised any other error, with its traceback."""

    traceback: str


Outcome = Finished | Stopped | Refused | Failed

Message = Began | Printed | Warned | ProgressReport | Outcome


def main(pipe: BinaryIO) -> None:
    """Does the job that comes through a pipe, a copy of stdin, and sends its messages through stdout."""
    prepare_process()
    send = _sender()
    send(_outcome(pipe, send))


def _outcome(pipe: BinaryIO, send: Callable[[Message], None]) -> Outcome:
    try:
        with raising_signals(), _told(send):
            with pipe:
                function, arguments = pickle.load(pipe)
            send(Began())
            Thread(target=_stop_at_the_end_of_stdin, daemon=True).start()
            function(*arguments)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop that comes now has nothing left to save
            return Finished()
    except Interrupted:
        return Stopped()
    except (VQGenError, OSError) as error:
        return Refused(error)
    except Exception:
        return Failed(traceback.format_exc())


def _sender() -> Callable[[Message], None]:
    """Takes stdout for messages; from then on prints of libraries go to stderr. Returns the function that sends one."""
    stream: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = Lock()

    def send(message: Message) -> None:
        with lock:
            try:
                stream.write(_pickled(message))
                stream.flush()
            except OSError:  # the parent has gone: the end of stdin, which comes with it, stops the job
                return

    return send


def _pickled(message: Message) -> bytes:
    """Pickles a message; of an error that cannot be pickled, its traceback."""
    try:
        return pickle.dumps(message)
    except Exception:
        assert isinstance(message, Refused)
        return pickle.dumps(Failed("".join(traceback.format_exception(message.error))))


def _stop_at_the_end_of_stdin() -> None:
    """Waits for the end of stdin, and then interrupts the main thread as SIGTERM does."""
    # Not through sys.stdin: at the end of the program, Python would wait for the lock that this thread holds.
    while os.read(0, 1):
        pass
    _thread.interrupt_main(signal.SIGTERM)  # the handler is called although the signal itself is blocked


@contextmanager
def _told(send: Callable[[Message], None]) -> Iterator[None]:
    """Sends what is printed, warned, logged and reported as progress in the block."""
    logging.getLogger("vqgen").handlers = [_SentWarnings(send)]
    with warnings.catch_warnings(), _SentLines(send) as lines, redirect_stdout(lines), reported_progress(send):
        show_only_own_warnings()
        warnings.showwarning = lambda message, category, *place: (
            send(Warned(str(message))) if issubclass(category, VQGenWarning) else None
        )
        yield


class _SentLines(TextIOBase):
    """A text file that sends what is written, in whole lines."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._waiting = ""

    def write(self, text: str, /) -> int:
        """Sends the lines that the text completes."""
        lines, end, self._waiting = (self._waiting + text).rpartition("\n")
        if end:
            self._send(Printed(lines))
        return len(text)

    def close(self) -> None:
        """Sends the last line, if it has no end."""
        if self._waiting:
            self.write("\n")
        super().close()


class _SentWarnings(logging.Handler):
    """A handler that sends logged warnings."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(Warned(record.getMessage()))


def load_message(stream: Any) -> Message | None:
    """Reads the next message of a child; None after the last one, or if the child ended in the middle of it."""
    try:
        return pickle.load(stream)
    except (EOFError, pickle.UnpicklingError):
        return None
    except Exception:  # an error of a library may be written, and not be readable
        return Failed(traceback.format_exc())
