"""Figures of Matplotlib, drawn into memory and written to a picture, whatever the user has set up for windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.runtime.ambient import without_display_settings
from vqgen.storage.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 120


@contextmanager
def written_figure(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Yields an empty figure, and writes it to a picture when the block ends well.

    The settings of the user (a backend in MPLBACKEND, a style, LaTeX in a matplotlibrc) have no effect: a plot is drawn
    after hours of training, and should not fail for want of a window or a font.

    Args:
        path: Picture to write. Its suffix chooses the format.
        width: Inches.
        height: Inches.
    """
    with without_display_settings():
        # Not by pyplot, which looks for a screen and keeps every figure in memory.
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with style.context("default"):
            figure = Figure(figsize=(width, height), layout="constrained")
            FigureCanvasAgg(figure)
            yield figure
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=_DOTS_PER_INCH)
