"""Charts of curves as plain numbers, ready for a template that writes them as SVG.

The templates draw the lines themselves. Figures of Matplotlib take a tenth of a second each, have fixed colours, fonts
and identifiers, and their letters become too small on a phone. Here a style sheet gives colours for light and dark.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 420
HEIGHT = 240
_LEFT = 50
_RIGHT = 20
_TOP = 10
_BOTTOM = 36
"""Units of the drawing: its size, and the margins around the axes."""

_LEAST = 1e-100
"""Least value of a logarithmic axis; ratios and margins of smaller ones, and of ones above 1e100, may overflow."""

_MOST_TICKS = 6

_MOST_BANDS = 60
"""Places at which a pointer shows the values of the curves, at most."""

_START = 0.02
"""Share of the horizontal axis, at its begin, whose values may be cut off: losses begin far above all others."""

NUM_COLOURS = 6
"""Colours that the style sheet has for curves."""


@dataclass(frozen=True)
class Curve:
    """A curve.

    Attributes:
        name: Its name in the legend.
        points: Its points, from left to right.
        colour: The number of its colour, from 1 to `NUM_COLOURS`.
        is_faint: True for a thin and pale line, for noise behind another curve.
        has_dots: True to mark every point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    is_faint: bool = False
    has_dots: bool = False


@dataclass(frozen=True)
class Tick:
    """A mark on an axis.

    Attributes:
        place: Its place in the drawing.
        text: Its number.
    """

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve in the drawing.

    Attributes:
        curve: The curve.
        path: Its points, as the attribute of a polyline.
        dots: The points to mark.
    """

    curve: Curve
    path: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Band:
    """A part of the drawing that shows the values of the curves under a pointer.

    Attributes:
        begin: Its left edge.
        width: Its width.
        text: The values.
    """

    begin: float
    width: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart in the units of its drawing.

    Attributes:
        title: Its title.
        across: Title of the horizontal axis.
        caption: Sentences below it.
        lines: The curves.
        across_ticks: Marks of the horizontal axis.
        up_ticks: Marks of the vertical axis.
        bands: The parts with values.
    """

    title: str
    across: str
    caption: str
    lines: Sequence[Line]
    across_ticks: Sequence[Tick]
    up_ticks: Sequence[Tick]
    bands: Sequence[Band]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw_chart(
    title: str, curves: Sequence[Curve], *, across: str = "step", caption: str = "", logarithmic: bool = False
) -> Chart | None:
    """Places curves in a drawing.

    Args:
        title: Title of the chart, with the unit of its values.
        curves: The curves. Points that are not finite are left out.
        across: Title of the horizontal axis, whose marks are whole numbers.
        caption: Sentences below the chart.
        logarithmic: True for a logarithmic vertical axis, if all values are positive, and none is beyond 1e100.

    Returns:
        The chart; None if there are no points.
    """
    kept = [(curve, [point for point in curve.points if all(map(math.isfinite, point))]) for curve in curves]
    kept = [(curve, points) for curve, points in kept if points]
    if not kept:
        return None
    everything = [point for _, points in kept for point in points]
    logarithmic = logarithmic and all(_LEAST <= value <= 1 / _LEAST for _, value in everything)
    low, high = min(x for x, _ in everything), max(x for x, _ in everything)
    across_axis = _Axis(low, high, _LEFT, WIDTH - _RIGHT, whole=True)
    up_axis = _up_axis(everything, low + _START * (high - low), logarithmic=logarithmic)
    lines = [_line(curve, points, across_axis, up_axis) for curve, points in kept]
    return Chart(
        title,
        across,
        caption,
        lines,
        across_axis.ticks(),
        up_axis.ticks(),
        _bands([(curve.name, points) for curve, points in kept], across, across_axis),
    )


def thinned(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """Replaces points by the means of equal groups of neighbours, so that at most `most` remain."""
    size = max(1, math.ceil(len(points) / most))
    if size == 1:
        return list(points)
    groups = [points[begin : begin + size] for begin in range(0, len(points), size)]
    return [
        (math.fsum(x for x, _ in group) / len(group), math.fsum(y for _, y in group) / len(group)) for group in groups
    ]


@dataclass(frozen=True)
class _Axis:
    """A map from values to places in the drawing.

    Attributes:
        low: The value at `begin`.
        high: The value at `end`.
        begin: Place of the low value.
        end: Place of the high value.
        logarithmic: True for equal distances of equal ratios.
        whole: True for marks at whole numbers only.
    """

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Returns the place of a value. Values beyond the axis lie at its ends."""
        scale: Callable[[float], float] = math.log if self.logarithmic else float
        extent = scale(self.high) - scale(self.low)
        share = (scale(min(max(value, self.low), self.high)) - scale(self.low)) / extent if extent else 0.5
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[Tick]:
        """Returns marks at round values."""
        values = _powers(self.low, self.high) if self.logarithmic else []
        values = values if len(values) > 1 else _multiples(self.low, self.high, whole=self.whole)
        return [Tick(self.place(value), number_text(value)) for value in values]


def _up_axis(points: Sequence[tuple[float, float]], start: float, *, logarithmic: bool) -> _Axis:
    """Returns the vertical axis; values of the very beginning may lie above it."""
    values = [value for place, value in points if place >= start] or [value for _, value in points]
    low, high = min(value for _, value in points), max(values)
    if logarithmic:
        room = (high / low) ** 0.05
        return _Axis(low / room, high * room, HEIGHT - _BOTTOM, _TOP, logarithmic=low < high)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    # No negative numbers below values that are all positive, such as shares.
    least = low - room if low < 0 else max(0.0, low - room)
    return _Axis(least, high + room, HEIGHT - _BOTTOM, _TOP)


def _multiples(low: float, high: float, *, whole: bool) -> list[float]:
    """Returns the multiples of a round number between two values."""
    if low == high:
        return [low]
    least = (high - low) / (_MOST_TICKS - 1)
    least = max(1.0, least) if whole else least
    power = 10.0 ** math.floor(math.log10(least))
    factors = (1, 2, 5, 10) if whole and power == 1 else (1, 2, 2.5, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= least * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Returns the powers of ten between two values; of a short range also twice and five times these powers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        values = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(values) >= 3:
            return values[:: math.ceil(len(values) / _MOST_TICKS)]
    return values


def number_text(value: float) -> str:
    """Writes a number with at most four digits, and whole numbers with separators."""
    return f"{round(value):,}" if abs(value) >= 1000 or value == round(value) else f"{value:.4g}"


def _line(curve: Curve, points: Sequence[tuple[float, float]], across: _Axis, up: _Axis) -> Line:
    placed = [(round(across.place(x), 1), round(up.place(y), 1)) for x, y in points]
    dots = placed if curve.has_dots and len(placed) <= _MOST_BANDS else placed if len(placed) == 1 else []
    return Line(curve, " ".join(f"{x:g},{y:g}" for x, y in placed), dots)


def _bands(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], title: str, across: _Axis) -> list[Band]:
    """Divides the drawing at the points of the curve with the fewest of them."""
    places = sorted({x for x, _ in min((points for _, points in curves), key=len)})
    if len(places) < 2:  # one point divides nothing
        places = sorted({x for x, _ in max((points for _, points in curves), key=len)})
    places = places[:: math.ceil(len(places) / _MOST_BANDS)]
    edges = [across.begin, *(across.place((one + other) / 2) for one, other in pairwise(places)), across.end]
    return [
        Band(
            round(begin, 1),
            round(end - begin, 1),
            f"{title} {number_text(place)}: "
            + ", ".join(f"{name} {number_text(_nearest(points, place))}" for name, points in curves),
        )
        for place, (begin, end) in zip(places, pairwise(edges), strict=True)
    ]


def _nearest(points: Sequence[tuple[float, float]], place: float) -> float:
    """Returns the value of the point that is nearest to a place on the horizontal axis."""
    after = bisect_left(points, place, key=lambda point: point[0])
    return min(points[max(0, after - 1) : after + 1], key=lambda point: abs(point[0] - place))[1]
