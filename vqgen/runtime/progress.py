"""The progress of a piece of work: a bar on a terminal, and a plain line now and then in a log."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

_LEAST_SECONDS = 20.0
"""Least time between two plain lines."""

_LEAST_SHARE = 0.02
"""Least share of the work between two plain lines, so that the longest work prints at most fifty lines."""


class ProgressBar:
    """A context manager that shows progress on stderr.

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
        on_terminal = show and sys.stderr.isatty()
        self._prints_lines = show and not on_terminal
        self._bar = tqdm(
            total=total, initial=done, desc=description, unit=unit, dynamic_ncols=True, disable=not on_terminal
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def note(self, metrics: Mapping[str, float]) -> None:
        """Shows metrics beside the progress. Each stays until a newer value of the same name."""
        self._metrics.update(metrics)
        self._bar.set_postfix_str(self._metrics_text(), refresh=False)

    def update(self, count: int = 1) -> None:
        """Adds finished pieces."""
        self._done += count
        self._bar.update(count)
        if self._prints_lines:
            self._maybe_print()

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
