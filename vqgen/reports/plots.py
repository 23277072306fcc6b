"""Plots of losses, of quality against diversity, and of distortion against rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqgen.reports.figures import written_figure

_TRADES = [("precision", "recall"), ("frechet_distance", "cas")]
"""Pairs of metrics to plot, horizontal axis first."""

_TRADED = {
    "precision": "precision (quality)",
    "recall": "recall (diversity)",
    "frechet_distance": "Frechet distance (less is better)",
    "cas": "classification accuracy score",
}
"""Metric -> title of its axis."""

_DISTORTIONS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM"}
"""Metric -> title of its axis."""


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


def plot_rate_distortion(
    curves: Mapping[str, Sequence[Mapping[str, float | None]]], ours: Mapping[str, float | None], path: Path
) -> None:
    """Plots PSNR and MS-SSIM over bits per pixel: a curve for each format, and a star for vqgen.

    Args:
        curves: Format -> points, each with `bpp`, `psnr` and `ms_ssim`; None is not drawn.
        ours: The same metrics of our files.
        path: Picture to write.
    """
    with written_figure(path, 10, 4) as figure:
        for axes, (measure, title) in zip(figure.subplots(1, 2), _DISTORTIONS.items(), strict=True):
            for name, points in curves.items():
                axes.plot(
                    [point["bpp"] for point in points], [point[measure] for point in points], marker=".", label=name
                )
            axes.plot([ours["bpp"]], [ours[measure]], marker="*", markersize=14, linestyle="", label="vqgen")
            axes.set(xlabel="bits per pixel", ylabel=title, xscale="log")
            axes.legend()


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
