"""SIGINT and SIGTERM: at once where nothing can be lost, at the end of a step where something could."""

import os
import signal
from types import FrameType
from typing import Any

from vqgen.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def raise_on_signals() -> None:
    """From here on SIGINT and SIGTERM raise `Interrupted`, so that files are cleaned up on the way out."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in _SIGNALS:
        signal.signal(number, stop)


class PendingSignal:
    """Inside its block signals only set `number`; the block looks at it where stopping is safe.

    A second signal ends the process at once, as a user who presses Ctrl-C twice expects.

    Attributes:
        number: The signal received, 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "PendingSignal":
        try:
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        except ValueError:  # not the main thread: whoever runs the thread has the signals
            self._before = {}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
