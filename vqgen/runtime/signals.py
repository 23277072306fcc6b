"""SIGINT and SIGTERM: they stop the program immediately, or at the end of a step if work could be lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vqgen.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def restored_handlers() -> Iterator[None]:
    """Restores the handlers of SIGINT and SIGTERM at the end of the block."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        _handle(before)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `Interrupted` in the block, so that `finally` blocks clean up files.

    If the block fails, both signals are ignored from then on. The program ends anyway, and a launcher that stops it
    should not cut off the message that says why.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    _handle(dict.fromkeys(_SIGNALS, stop))
    try:
        yield
    except BaseException:
        _handle(dict.fromkeys(_SIGNALS, signal.SIG_IGN))
        raise


def _handle(handlers: dict[signal.Signals, Any]) -> None:
    """Sets handlers. Only the main thread may set them; in any other thread signals are not ours."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:  # None stands for a handler that was not set by Python, and cannot be set by it
                signal.signal(number, handler)


class PendingSignal:
    """A context manager in which a signal only sets `number`. The block checks it at points where stopping is safe.

    A second signal ends the process immediately, as a user who presses Ctrl-C twice expects.

    Attributes:
        number: The number of the signal received, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "PendingSignal":
        try:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        except ValueError:  # only the main thread may set handlers; in any other thread signals are not ours
            self._before = {}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The step that the first signal waits for may hang. `os._exit` ends it without waiting for any thread.
        if self.number:
            os._exit(128 + number)
        self.number = number
