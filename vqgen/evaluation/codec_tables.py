"""Tables of the results of judging a codec, as cells of text."""

from collections.abc import Mapping, Sequence

from vqgen.evaluation.bd_rate import LEAST_POINTS, BDRate
from vqgen.evaluation.code_costs import LevelCost
from vqgen.evaluation.codec_results import OURS, CodecResults
from vqgen.evaluation.curves import TITLES, Point, nearest_point
from vqgen.storage.names import shown

_UNKNOWN = "-"


def quality_rows(results: CodecResults) -> list[list[str]]:
    """Returns the rows of a table of means: the names of the columns, then a row per format.

    A published curve has a row with its point that is nearest in rate to the first row.
    """
    means = results.means()
    bpp = next(iter(means.values())).bpp
    points = means | {name: nearest_point(curve, bpp) for name, curve in results.published.items()}
    has_lpips = any(point.lpips is not None for point in points.values())
    header = ["format", "bpp", "bytes", "PSNR", "MS-SSIM", *(["LPIPS"] if has_lpips else []), "write, ms", "read, ms"]
    return [header, *(_quality_row(name, point, has_lpips) for name, point in points.items())]


def bd_rows(results: CodecResults) -> list[list[str]]:
    """Returns the rows of a table of BD-rates: the names of the columns, then a row per reference.

    Returns:
        The rows; empty if no BD-rate can be computed.
    """
    found = results.bd_rates()
    if all(each.percent is None for rates in found.values() for each in rates.values()):
        return []
    header = ["reference", *(cell for title in TITLES.values() for cell in (f"by {title}", "over dB"))]
    return [
        header,
        *([name, *(cell for each in rates.values() for cell in _bd_cells(each))] for name, rates in found.items()),
    ]


def bd_notes(results: CodecResults) -> list[str]:
    """Returns a line for each reason why BD-rates cannot be computed, or one line if vqgen has too few points."""
    count = len(results.rates)
    if count < LEAST_POINTS:
        rates = "one rate" if count == 1 else f"{count} rates"
        return [
            f"BD-rate: {OURS} has {rates} here, and it takes curves of at least {LEAST_POINTS} points; "
            "--qualities and --more-checkpoints add rates"
        ]
    # A reason that lies in our own curve is the same against every reference.
    names: dict[tuple[str, str], list[str]] = {}
    for name, rates in results.bd_rates().items():
        for metric, each in rates.items():
            if each.reason is not None:
                names.setdefault((metric, each.reason), []).append(name)
    return [
        f"BD-rate against {', '.join(alike)} by {TITLES[metric]}: {reason}" for (metric, reason), alike in names.items()
    ]


def level_rows(costs: Mapping[str, Mapping[str, LevelCost]]) -> list[list[str]]:
    """Returns the rows of a table of bits per code: the names of the columns, then a row per level, coarse to fine.

    Args:
        costs: Name of our rate -> level -> cost. Several rates have a column of their own.
    """
    several = len(costs) > 1
    header = ["level", "codes", "packed", "static", "histogram", "context", "prior", "prior saves"]
    rows = [(rate, level, cost) for rate, levels in costs.items() for level, cost in levels.items()]
    return [
        [*(["checkpoint"] if several else []), *header],
        *([*([shown(rate)] if several else []), level, *_level_cells(cost)] for rate, level, cost in rows),
    ]


def _quality_row(name: str, point: Point, has_lpips: bool) -> list[str]:
    return [
        shown(name),  # it may hold the path of a checkpoint or a file
        f"{point.bpp:.4f}",
        _cell(point.bytes, ".0f"),
        _cell(point.psnr, ".2f"),
        _cell(point.ms_ssim, ".4f"),
        *([_cell(point.lpips, ".4f")] if has_lpips else []),
        *(_cell(None if each is None else 1000 * each, ".2f") for each in (point.write_seconds, point.read_seconds)),
    ]


def _bd_cells(result: BDRate) -> Sequence[str]:
    if result.percent is None:
        return _UNKNOWN, _UNKNOWN
    return f"{result.percent:+.1f} %", f"{result.low:.1f} to {result.high:.1f}"


def _level_cells(cost: LevelCost) -> list[str]:
    # Of the best that the codes so far tell without training: that is what the prior has to beat.
    saved = _UNKNOWN if cost.prior is None else f"{100 * (1 - cost.prior / cost.context):.0f} %"
    bits = (cost.packed, cost.static, cost.histogram, cost.context, cost.prior)
    return [f"{cost.codes}", *(_cell(each, ".3f") for each in bits), saved]


def _cell(value: float | None, digits: str) -> str:
    return _UNKNOWN if value is None else format(value, digits)
