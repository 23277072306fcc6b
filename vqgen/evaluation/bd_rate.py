"""The Bjontegaard delta rate: the mean difference of two codecs in rate, at the same quality.

Source: Bjontegaard 2001, "Calculation of average PSNR differences between RD-curves", VCEG-M33. The logarithm of the
rate is interpolated over the quality by piecewise cubic Hermite polynomials (PCHIP), as the common test conditions of
JCT-VC (JCTVC-L1100) and JVET do, and not by one cubic, which oscillates between points far apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from vqgen.evaluation.curves import QUALITIES, TITLES, Curves, Point

LEAST_POINTS = 4
"""Points of a curve, at least: as many as the measure was made for. Fewer say little about a curve."""

RateQuality = tuple[float, float]
"""A rate above 0, and a quality in dB."""


@dataclass(frozen=True)
class BDRate:
    """The result of a comparison.

    Attributes:
        percent: The difference in rate: -50 if half the bits give the same quality. None if it cannot be computed.
        low: The least quality that both curves have, in dB; None without a common range.
        high: The highest quality that both curves have, in dB; None without a common range.
        reason: The reason why it cannot be computed; None if it is computed.
    """

    percent: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def bd_rate(ours: Sequence[RateQuality], reference: Sequence[RateQuality], names: tuple[str, str]) -> BDRate:
    """Computes the mean difference in rate over the qualities that both curves have.

    Args:
        ours: Points of the curve that is judged, in any order.
        reference: Points of the curve that it is compared with, in any order.
        names: Names of the two curves, for reasons.

    Returns:
        100 (exp(mean of ln rate of ours - ln rate of the reference) - 1), in percent. It is negative if ours needs
        fewer bits.
    """
    lines = [best_points(ours), best_points(reference)]
    for name, points, best in zip(names, (ours, reference), lines, strict=True):
        if len(best) < LEAST_POINTS:
            return BDRate(reason=_too_few(name, len(points), len(best)))
    # The best points grow in rate and quality, so the ends are the extremes.
    low = max(line[0][1] for line in lines)
    high = min(line[-1][1] for line in lines)
    if low >= high:
        spans = [f"{name} {line[0][1]:.4g} to {line[-1][1]:.4g}" for name, line in zip(names, lines, strict=True)]
        return BDRate(reason=f"the curves share no range of quality, in dB: {', '.join(spans)}")
    mine, its = (_mean_log_rate(line, low, high) for line in lines)
    return BDRate(percent=100 * float(np.expm1(mine - its)), low=low, high=high)


def best_points(points: Sequence[RateQuality]) -> list[RateQuality]:
    """Returns the points that no other point beats in rate and quality, by growing rate and quality.

    Args:
        points: Points in any order, equal ones too.
    """
    best: list[RateQuality] = []
    # By rate, and of one rate the highest quality first: a later point has to gain quality for its bits.
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((rate, quality))
    return best


def bd_rates(ours: Sequence[Point], references: Curves) -> dict[str, dict[str, BDRate]]:
    """Compares the curve of vqgen with each other curve, by PSNR and by MS-SSIM in dB.

    Args:
        ours: The points of vqgen.
        references: Name -> curve.

    Returns:
        Name -> metric -> result.
    """
    return {
        name: {metric: _by_metric(ours, points, name, metric) for metric in QUALITIES}
        for name, points in references.items()
    }


def line_of(points: Sequence[Point], metric: str) -> list[RateQuality]:
    """Returns rate and quality of the points that have a metric.

    Args:
        points: The points of a curve.
        metric: A key of `QUALITIES`.
    """
    values = [(point.bpp, QUALITIES[metric](point)) for point in points]
    return [(bpp, value) for bpp, value in values if value is not None]


def _by_metric(ours: Sequence[Point], reference: Sequence[Point], name: str, metric: str) -> BDRate:
    mine, its = line_of(ours, metric), line_of(reference, metric)
    names = ("vqgen", name)
    for owner, line in zip(names, (mine, its), strict=True):
        if not line:
            return BDRate(reason=f"{owner} has no {TITLES[metric]}")
    return bd_rate(mine, its, names)


def _mean_log_rate(line: Sequence[RateQuality], low: float, high: float) -> float:
    rates, qualities = zip(*line, strict=True)
    return float(PchipInterpolator(qualities, np.log(rates)).integrate(low, high)) / (high - low)


def _too_few(name: str, given: int, best: int) -> str:
    has = f"{name} has {given} {'rate' if given == 1 else 'rates'}"
    beaten = "" if given == best else f", of which only {best} {'is' if best == 1 else 'are'} not beaten by another"
    return f"{has}{beaten}, and a BD-rate takes at least {LEAST_POINTS}"
