"""The results of judging a codec: means over the pictures, curves, BD-rates and the price of codes, as data.

each picture --> PictureResults --+
published curves -----------------+--> CodecResults --> means, curves, BD-rates --> JSON, tables, plot
price of the codes ---------------+
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vqgen.config import LPIPS_SIDE
from vqgen.errors import DataError
from vqgen.evaluation.bd_rate import BDRate, bd_rates
from vqgen.evaluation.code_costs import LevelCost
from vqgen.evaluation.curves import Curves, Point
from vqgen.evaluation.peer_formats import absent_formats
from vqgen.evaluation.pixel_errors import WINDOW
from vqgen.evaluation.published_curves import PublishedCurves
from vqgen.evaluation.rate_distortion import MOST_LPIPS_PIXELS, Measured, mean_point

OURS = "vqgen"
"""Name of our curve, and of our row if there is one."""

WITHOUT_PRIOR = ("packed", "static")
"""Coders that do not use the prior."""


@dataclass(frozen=True)
class PictureResults:
    """The measurements of one picture.

    Attributes:
        ours: Name of our rate -> measurements.
        nearest: Other format -> measurements at the size nearest to that of our first rate.
        curves: Other format -> measurements at each quality; empty if curves were not asked for.
    """

    ours: Mapping[str, Measured]
    nearest: Mapping[str, Measured]
    curves: Mapping[str, Sequence[Measured]] = field(default_factory=dict)


@dataclass(frozen=True)
class CodecResults:
    """The measurements of all pictures.

    Attributes:
        pictures: Name of the picture -> its results, at least one.
        costs: Name of our rate -> level -> price of its codes.
        published: Name -> curve that is not measured here.
        coder: The coder that was asked for.
        colours: "rgb" or "grey": the colours in which pictures were compared.
        without: Name of a metric -> the reason why it is not measured at all.
    """

    pictures: Mapping[str, PictureResults]
    costs: Mapping[str, Mapping[str, LevelCost]]
    published: Curves = field(default_factory=dict)
    coder: str = "auto"
    colours: str = "rgb"
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def rates(self) -> list[str]:
        """The names of our rates, each a point of our curve."""
        return list(self._all[0].ours)

    def row_name(self, rate: str) -> str:
        """Returns the name of one of our rates among the formats."""
        return OURS if len(self.rates) == 1 else f"{OURS} {rate}"

    def means(self) -> dict[str, Point]:
        """Returns the means of each of our rates, and of each other format near the size of the first one."""
        ours = {self.row_name(each): self._ours(each) for each in self.rates}
        formats = _common([each.nearest for each in self._all])
        return ours | {name: mean_point([each.nearest[name] for each in self._all]) for name in formats}

    def our_curve(self) -> list[Point]:
        """Returns our curve by growing rate: a point for each rate."""
        return sorted((self._ours(each) for each in self.rates), key=lambda point: point.bpp)

    def peer_curves(self) -> dict[str, list[Point]]:
        """Returns the curves of the other formats that can hold all pictures: a point for each quality."""
        curves = [each.curves for each in self._all]
        return {
            name: [mean_point(same) for same in zip(*(each[name] for each in curves), strict=True)]
            for name in _common(curves)
        }

    def measured_curves(self) -> dict[str, list[Point]]:
        """Returns all curves that are measured here, ours first."""
        return {OURS: self.our_curve()} | self.peer_curves()

    def bd_rates(self) -> dict[str, dict[str, BDRate]]:
        """Returns the BD-rate of our curve against each other one: name -> metric -> result."""
        found = bd_rates(self.our_curve(), self.peer_curves() | dict(self.published))
        partial = self.left_out().get("ms_ssim")
        if partial is not None:  # rate and MS-SSIM would be means over different pictures
            found = {name: each | {"ms_ssim": BDRate(reason=partial)} for name, each in found.items()}
        return found

    def left_out(self) -> dict[str, str]:
        """Returns each format or metric that is left out of the means, or has a mean over some pictures only.

        Returns:
            Name -> the reason.
        """
        total = len(self.pictures)
        reasons = dict(self.without) | absent_formats()
        nearest = [each.nearest for each in self._all]
        for name in dict.fromkeys(name for each in nearest for name in each):
            missing = sum(name not in each for each in nearest)
            if missing:
                reasons[name] = f"it cannot hold {missing} of {total} images"
        firsts = [next(iter(each.ours.values())) for each in self._all]
        if small := sum(each.ms_ssim is None for each in firsts):
            reasons["ms_ssim"] = f"{small} of {total} images are smaller than its window of {WINDOW} x {WINDOW} pixels"
        if "lpips" not in reasons and (unfit := sum(each.lpips is None for each in firsts)):
            reasons["lpips"] = (
                f"{unfit} of {total} images are smaller than {LPIPS_SIDE} x {LPIPS_SIDE} pixels or have more than "
                f"{MOST_LPIPS_PIXELS:,}"
            )
        return reasons | self._without_prior()

    def document(self) -> dict[str, Any]:
        """Returns all measurements as values for JSON; `read_curves` reads its curves again."""
        return {
            "colours": self.colours,
            "means": {name: point.document() for name, point in self.means().items()},
            "images": {
                name: {self.row_name(rate): asdict(ours) for rate, ours in each.ours.items()}
                | {peer: asdict(measured) for peer, measured in each.nearest.items()}
                for name, each in self.pictures.items()
            },
            "curves": _documents(self.measured_curves()),
            "against": _documents(self.published),
            "bd_rates": {
                name: {metric: asdict(result) for metric, result in each.items()}
                for name, each in self.bd_rates().items()
            },
            "levels": {
                rate: {level: asdict(cost) for level, cost in levels.items()} for rate, levels in self.costs.items()
            },
            "left_out": self.left_out(),
        }

    @property
    def _all(self) -> list[PictureResults]:
        return list(self.pictures.values())

    def _ours(self, rate: str) -> Point:
        return mean_point([each.ours[rate] for each in self._all], rate)

    def _without_prior(self) -> dict[str, str]:
        levels = [level for each in self.costs.values() for level, cost in each.items() if cost.prior is None]
        if not levels:
            return {}
        if self.coder in WITHOUT_PRIOR:
            return {"prior": f"--coder {self.coder} does not use it"}
        return {"prior": f"there is none for {', '.join(dict.fromkeys(levels))}"}


def check_comparable(published: PublishedCurves, colours: str, origin: str) -> None:
    """Refuses curves of pictures that were compared in other colours.

    Args:
        published: The curves of a file.
        colours: "rgb" or "grey", of the curves that are measured here.
        origin: The file, for the error.

    Raises:
        DataError: The file says that its colours are others.
    """
    if published.colours not in (None, colours):
        remedy = "leave --grey out" if colours == "grey" else "add --grey"
        raise DataError(
            f"--against: curves should be of pictures in {colours}, found {published.colours} in {origin}; {remedy}, "
            "or choose a model of the same colours"
        )


def new_curves(known: Curves, new: Curves, origin: str) -> dict[str, Sequence[Point]]:
    """Names the curves of a file apart from those that are known already.

    Args:
        known: Name -> curve.
        new: Name -> curve of the file.
        origin: Name of the file. It tells a curve apart from a different one of the same name.

    Returns:
        Name -> new curve. A curve that is known by the same name is not among them.
    """
    result: dict[str, Sequence[Point]] = {}
    for name, points in new.items():
        if name in known and _values(known[name]) == _values(points):
            continue
        while name in known or name in result:
            name = f"{name} ({origin})"
        result[name] = points
    return result


def _values(points: Sequence[Point]) -> list[tuple[float, float | None, float | None]]:
    return sorted((point.bpp, point.psnr, point.ms_ssim) for point in points)


def _documents(curves: Curves) -> dict[str, list[dict[str, Any]]]:
    return {name: [point.document() for point in points] for name, points in curves.items()}


def _common(results: Sequence[Mapping[str, object]]) -> list[str]:
    """Returns the formats that all pictures have: means over different pictures cannot be compared."""
    return [name for name in results[0] if all(name in each for each in results)]
