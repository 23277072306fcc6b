"""Plots of losses, of quality against diversity, and of distortion against rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.reports.figures import written_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRADES = [("precision", "recall"), ("frechet_distance", "cas")]
"""Pairs of metrics to plot, horizontal axis first."""

_TRADED = {
    "precision": "precision (quality)",
    "recall": "recall (diversity)",
    "frechet_distance": "Frechet distance (less is better)",
    "cas": "classification accuracy score",
}
"""Metric -> title of its axis."""

_DISTORTIONS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM, dB"}
"""Metric -> title of its axis."""

_LETTERS = 100
"""Letters that fit into a line of a legend below two panels."""

_MARKERS = "osD^vPX<>"
"""Markers of the curves: nine, so that with ten colours no two of many curves look alike."""


def plot_trade_off(points: Sequence[Mapping[str, Any]], limits: Mapping[str, float], varied: str, path: Path) -> bool:
    """Plots quality against diversity: recall over precision, and the accuracy score over the Frechet distance.

    Args:
        points: One for each value of the varied setting: `value`, `precision`, `recall`, `frechet_distance` and,
            if it was computed, `cas`. A pair of metrics is left out if a point lacks one of them.
        limits: Name of a metric -> value of real images. It is drawn as a cross if both metrics of a plot have one,
            and as a line if only the vertical one has.
        varied: Name of the varied setting.
        path: Picture to write.

    Returns:
        False if nothing is written, because every pair of metrics lacks one of them.
    """
    shown = [pair for pair in _TRADES if all(set(pair) <= point.keys() for point in points)]
    if not shown:
        return False
    with written_figure(path, 5.5 * len(shown), 4.8) as figure:
        for axes, (across, up) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            axes.plot([p[across] for p in points], [p[up] for p in points], marker="o", markersize=5, linewidth=1)
            for point in points:
                place = (point[across], point[up])
                axes.annotate(f"{point['value']:g}", place, textcoords="offset points", xytext=(6, 5), fontsize=9)
            # Real images limit both precision and recall, but only the accuracy score of the second pair.
            if across in limits and up in limits:
                cross = {"marker": "x", "markersize": 9, "color": "black", "linestyle": "none"}
                axes.plot(limits[across], limits[up], **cross, label="halves of the real images")
                axes.legend()
            elif up in limits:
                axes.axhline(limits[up], color="black", linestyle="dashed", linewidth=1, label="as many real images")
                axes.legend()
            axes.set_xlabel(_TRADED[across])
            axes.set_ylabel(_TRADED[up])
            axes.set_title(f"over {varied}")
            axes.grid(visible=True, alpha=0.25)
            axes.locator_params(nbins=7)
            axes.margins(0.15)
    return True


def plot_rate_distortion(curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: Path) -> None:
    """Plots PSNR and MS-SSIM, both in dB, over bits per pixel: a curve for each codec.

    Args:
        curves: Name of the codec -> "psnr" and "ms_ssim" -> rates in bits per pixel and qualities in dB. The first
            codec is drawn thickest.
        path: Picture to write.
    """
    # On a page, at a width of 700 pixels, letters still have 11 pixels.
    with written_figure(path, 8.4, 4.4) as figure:
        panels = figure.subplots(1, 2)
        for axes, (metric, title) in zip(panels, _DISTORTIONS.items(), strict=True):
            for index, (name, lines) in enumerate(curves.items()):
                points = sorted(lines[metric])
                across, up = [[point[axis] for point in points] for axis in (0, 1)]
                axes.plot(across, up, label=name, **_curve_style(index))
            axes.set(ylabel=title)
            _show_rates(axes)
        # One legend below both: inside, it would cover curves. Names of files are long, so they have few columns.
        columns = max(1, min(5, _LETTERS // (max(map(len, curves)) + 8)))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def plot_losses(metrics: Sequence[dict[str, Any]], path: Path, curves: Mapping[str, str], unit: str) -> None:
    """Plots metrics of metrics.jsonl over the steps, on a logarithmic axis if they span more than a decade.

    Args:
        metrics: Lines of metrics.jsonl.
        path: Picture to write.
        curves: Name of a metric -> name of its curve. Validation metrics (val_...) have markers.
        unit: Title of the vertical axis.
    """
    with written_figure(path, 8, 4.5) as figure:
        axes = figure.add_subplot()
        drawn: list[float] = []
        for name, label in curves.items():
            # A line holds only the metrics of its step: validations are rarer than training steps.
            points = [(line["step"], line[name]) for line in metrics if name in line]
            if not points:
                continue
            steps, values = zip(*points, strict=True)
            drawn += values
            marker = "o" if name.startswith("val_") else ""
            axes.plot(steps, values, marker=marker, markersize=4, linewidth=1, label=label)
        if drawn and 0 < min(drawn) * 10 < max(drawn):
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.grid(visible=True, which="both", alpha=0.25)
        if axes.lines:
            axes.legend()


def _show_rates(axes: "Axes") -> None:
    """Gives axes a horizontal axis of rates: logarithmic, in plain numbers that are near enough to read rates off."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(xlabel="bits per pixel", xscale="log")
    low, high = axes.get_xlim()
    # Over more than two decades their numbers would run into each other.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.25)


def _curve_style(index: int) -> dict[str, Any]:
    """Returns the look of a curve: the first one in black and thick, all others thin and each with its own marker."""
    if index == 0:
        return {"marker": "*", "markersize": 11, "linewidth": 2, "color": "black", "zorder": 3}
    marker = _MARKERS[(index - 1) % len(_MARKERS)]
    return {"marker": marker, "markersize": 4, "linewidth": 1.2, "color": f"C{(index - 1) % 10}"}
