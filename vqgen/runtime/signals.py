"""SIGINT and SIGTERM: they stop the program immediately, or at the end of a step if work could be lost."""

import os
import signal
from types import FrameType
from typing import Any

from vqgen.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def raise_on_signals() -> None:
    """Makes SIGINT and SIGTERM raise `Interrupted` from now on, so that `finally` blocks clean up files."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in _SIGNALS:
        signal.signal(number, stop)


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
