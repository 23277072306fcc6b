"""The progress of a piece of work: a bar on a terminal or in a notebook, and a plain line now and then in a log."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import TqdmWarning, tqdm

from vqgen.errors import VQGenWarning

_LEAST_SECONDS = 20.0
"""Least time between two plain lines."""

_LEAST_SHARE = 0.02
"""Least share of the work between two plain lines, so that the longest work prints at most fifty lines."""

_SECONDS_BETWEEN_REPORTS = 0.1
"""Least time between two reports of a bar to another process: as often as tqdm draws."""


@dataclass(frozen=True)
class ProgressReport:
    """The state of a bar, for another process that shows it.

    Attributes:
        total: Number of pieces of work.
        description: Name of the work.
        unit: Name of a piece, in the singular.
        start: Pieces that an earlier run had finished.
        done: Pieces finished by now.
        metrics: The metrics beside the progress.
        is_over: True for the last report of the bar.
    """

    total: int
    description: str
    unit: str
    start: int
    done: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_over: bool = False


_report: Callable[[ProgressReport], object] | None = None
"""The receiver of the progress of this process, if another process shows it."""


@contextmanager
def reported_progress(receive: Callable[[ProgressReport], object]) -> Iterator[None]:
    """Makes the bars that begin in the block report to `receive`. They show nothing themselves."""
    global _report
    before = _report
    _report = receive
    try:
        yield
    finally:
        _report = before


class ProgressBar:
    """A context manager that shows progress on stderr, or reports it to the process that shows it.

    Args:
        total: Number of pieces of work.
        description: Name of the work, in a word.
        unit: Name of a piece, in the singular.
        done: Pieces that an earlier run has finished.
        show: False shows nothing.
    """

    def __init__(self, total: int, description: str, unit: str, *, done: int = 0, show: bool = True) -> None:
        self.total = total
        self.description = description
        self.unit = unit
        self._start = self._done = self._printed = done
        self._started_at = self._printed_at = time.monotonic()
        self._metrics: dict[str, float] = {}
        self._receive = _report if show else None
        self._reported_at = -_SECONDS_BETWEEN_REPORTS
        shows_here = show and self._receive is None
        in_notebook = shows_here and is_notebook()
        draws_bar = in_notebook or (shows_here and sys.stderr.isatty())
        self._prints_lines = shows_here and not draws_bar
        kind = _notebook_bar() if in_notebook else tqdm
        self._bar = kind(
            total=total, initial=done, desc=description, unit=unit, dynamic_ncols=True, disable=not draws_bar
        )
        self._send()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar. On a terminal it stays as it is."""
        self._bar.close()
        self._send(is_over=True)

    def note(self, metrics: Mapping[str, float]) -> None:
        """Shows metrics beside the progress. Each stays until a newer value of the same name."""
        self._metrics.update(metrics)
        self._bar.set_postfix_str(self._metrics_text(), refresh=False)

    def update(self, count: int = 1) -> None:
        """Adds finished pieces."""
        self._done += count
        self._bar.update(count)
        if self._prints_lines and count:
            self._maybe_print()
        now = time.monotonic()
        if now - self._reported_at >= _SECONDS_BETWEEN_REPORTS:
            self._reported_at = now
            self._send()

    def clear(self) -> None:
        """Clears the line of the bar on a terminal, until `draw_in`."""
        self._bar.clear()

    def draw_in(self, line: int) -> None:
        """Draws the bar in a line below the cursor, counted from 0."""
        self._bar.pos = line
        self._bar.refresh()

    def follow(self, report: ProgressReport) -> None:
        """Shows the progress of another process's bar."""
        self.note(report.metrics)
        self.update(report.done - self._done)

    def _send(self, *, is_over: bool = False) -> None:
        if self._receive is not None:
            state = (self.total, self.description, self.unit, self._start, self._done)
            self._receive(ProgressReport(*state, dict(self._metrics), is_over))

    def _metrics_text(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self._metrics.items())

    def _maybe_print(self) -> None:
        now = time.monotonic()
        if now - self._printed_at < _LEAST_SECONDS or self._done - self._printed < _LEAST_SHARE * self.total:
            return
        self._printed = self._done
        self._printed_at = now
        # Pieces of an earlier run took none of this run's time.
        speed = (self._done - self._start) / (now - self._started_at)
        left = (self.total - self._done) / speed
        parts = [f"{self._done}/{self.total} {self.unit}s", self._metrics_text(), f"{speed:.3g} {self.unit}s/s"]
        line = ", ".join([*filter(None, parts), f"about {left:.0f} s left"])
        print(f"{self.description}: {line}", file=sys.stderr, flush=True)


def is_notebook() -> bool:
    """Returns True in the kernel of a notebook."""
    if "ipykernel" not in sys.modules:  # asked first, because IPython takes time to import
        return False
    from IPython.core.getipython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


def _notebook_bar() -> Any:
    """Returns the bar of a notebook: a widget, or text if ipywidgets is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # about ipywidgets, in a cell of the notebook
        from tqdm.auto import tqdm as bar
    return bar


class SharedDisplay:
    """The progress of several processes in one terminal or one log: a bar, or plain lines, for each of them."""

    def __init__(self) -> None:
        self._bars: dict[tuple[str, str], ProgressBar] = {}

    def show(self, sender: str, report: ProgressReport) -> None:
        """Shows the state of a bar of the process `sender`."""
        key = (sender, report.description)
        if key not in self._bars:
            self._bars[key] = ProgressBar(report.total, report.description, report.unit, done=report.start)
        self._bars[key].follow(report)
        if report.is_over:
            self._close(key)

    def print(self, text: str) -> None:
        """Prints whole lines to stdout, above the bars."""
        with tqdm.external_write_mode(file=sys.stdout):
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Warns on stderr, above the bars."""
        with tqdm.external_write_mode(file=sys.stderr):
            warnings.warn(text, VQGenWarning, stacklevel=2)

    def close(self, sender: str) -> None:
        """Ends the bars of a process that has ended."""
        for key in [key for key in self._bars if key[0] == sender]:
            self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        """Ends a bar. It stays in the first line, and the bars that go on move to the lines below it."""
        for bar in self._bars.values():  # tqdm would leave their old lines as they are
            bar.clear()
        self._bars.pop(key).close()
        for line, bar in enumerate(self._bars.values()):
            bar.draw_in(line)
