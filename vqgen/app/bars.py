"""Bar charts inside the page. Their colours are those of the page's theme, so they follow light and dark.

Every text is escaped here: labels of a model are texts of strangers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vqgen.app.uploads import escape

_WIDTH = 640
_HALF = 70
"""Height of the bars above and below the axis of a mirrored chart."""

_ACCENT = "var(--color-accent, #f97316)"
_TEXT = "var(--body-text-color, #27272a)"
_PALE = "var(--body-text-color-subdued, #71717a)"


@dataclass(frozen=True)
class Bar:
    """A bar.

    Attributes:
        name: Its name.
        value: At least 0.
        text: Its value in words.
        is_marked: True to draw it in the colour that stands out.
    """

    name: str
    value: float
    text: str
    is_marked: bool = False


def bar_rows(bars: Sequence[Bar], title: str) -> str:
    """Returns a list with a row for each bar: its name, the bar, its value. Its letters have one size on all screens.

    Args:
        bars: The bars, from top to bottom.
        title: The name of the list for a screen reader.
    """
    most = max((bar.value for bar in bars), default=0) or 1
    rows = (
        f'<li class="{"vq-marked" if bar.is_marked else "vq-plain"}"><span>{escape(bar.name)}</span>'
        f'<div><i style="width: {70 * bar.value / most:.1f}%"></i><b>{escape(bar.text)}</b></div></li>'
        for bar in bars
    )
    return f'<ol class="vq-bars" aria-label="{escape(title)}">{"".join(rows)}</ol>'


def mirrored_bars(above: Sequence[float], below: Sequence[float], marked: int | None, title: str) -> str:
    """Returns a chart with two bars for each entry of a codebook, one above and one below the axis.

    Args:
        above: Values of the entries, at least 0.
        below: Values of the same entries on another scale; empty for none.
        marked: The entry that stands out; None for none.
        title: The sentence that a screen reader says.
    """
    step = _WIDTH / max(1, len(above))
    width = max(0.5, step * 0.8)
    parts = [f'<line x1="0" y1="{_HALF}" x2="{_WIDTH}" y2="{_HALF}" stroke="{_PALE}" stroke-width="1"/>']
    for values, side in ((above, -1), (below, 1)):
        most = max(values, default=0) or 1
        for entry, value in enumerate(values):
            if value <= 0:
                continue
            height = max(1.0, (_HALF - 4) * value / most)
            y = _HALF - height if side < 0 else _HALF
            colour = _ACCENT if entry == marked else _TEXT if side < 0 else _PALE
            number = f"{value:g}" if value >= 1 else f"{value:.2%}"
            parts.append(
                f'<rect x="{entry * step:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" fill="{colour}">'
                f"<title>code {entry}: {number}</title></rect>"
            )
    return _drawing("".join(parts), 2 * _HALF if below else _HALF + 2, title)


def _drawing(content: str, height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" width="100%" role="img" aria-label="{escape(title)}" '
        f'font-size="13" font-family="inherit" fill="{_TEXT}" style="max-width:{_WIDTH}px">{content}</svg>'
    )
