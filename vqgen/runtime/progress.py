"""How far a piece of work is: a bar on a terminal, elsewhere a plain line now and then, so that no log is flooded."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

_LEAST_SECONDS = 20.0
"""Time between two plain lines."""

_LEAST_SHARE = 0.02
"""Share of the work between two plain lines, so that the longest work takes at most fifty."""


class ProgressBar:
    """Shows progress on stderr, from entering its block to leaving it.

    Args:
        total: Pieces of work.
        description: What is being done, in a word.
        unit: What a piece is, in the singular.
        done: Pieces that were done before.
        show: Show anything at all.
    """

    def __init__(self, total: int, description: str, unit: str, *, done: int = 0, show: bool = True) -> None:
        self.total, self.description, self.unit = total, description, unit
        self._done = self._shown = self._start = done
        self._began = self._shown_at = time.monotonic()
        self._figures: dict[str, float] = {}
        on_terminal = show and sys.stderr.isatty()
        self._lines = show and not on_terminal
        self._bar = tqdm(
            total=total, initial=done, desc=description, unit=unit, dynamic_ncols=True, disable=not on_terminal
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def note(self, figures: Mapping[str, float]) -> None:
        """Shows figures beside the progress; each stays until a newer one of its name."""
        self._figures.update(figures)
        self._bar.set_postfix_str(self._figures_text(), refresh=False)

    def update(self, count: int = 1) -> None:
        """Adds finished pieces."""
        self._done += count
        self._bar.update(count)
        if self._lines:
            self._maybe_print()

    def _figures_text(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self._figures.items())

    def _maybe_print(self) -> None:
        now = time.monotonic()
        if now - self._shown_at < _LEAST_SECONDS or self._done - self._shown < _LEAST_SHARE * self.total:
            return
        self._shown, self._shown_at = self._done, now
        speed = (self._done - self._start) / (now - self._began)
        left = (self.total - self._done) / speed
        parts = [f"{self._done}/{self.total} {self.unit}s", self._figures_text(), f"{speed:.3g} {self.unit}s/s"]
        line = ", ".join([*filter(None, parts), f"about {left:.0f} s left"])
        print(f"{self.description}: {line}", file=sys.stderr, flush=True)
