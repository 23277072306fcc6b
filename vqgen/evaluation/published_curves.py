"""Curves from a file: published ones, or those that `vqgen evaluate-codec --json` has written.

One JSON object, in one of three layouts. `docs/concepts/codec.md` shows the first.

    {"curves": {NAME: [POINT, ...], ...}}                                several curves; our own JSON has them
    {"name": NAME, "points": [POINT, ...]}                               one curve
    {"name": NAME, "results": {"bpp": [...], "psnr-rgb": [...], ...}}    one curve in columns, as CompressAI has them

A POINT has `bpp`, and `psnr` in dB or `ms_ssim` in [0, 1] or both; anything else in it is passed over.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqgen.errors import DataError
from vqgen.evaluation.curves import Point
from vqgen.storage.documents import read_json
from vqgen.storage.names import shown

COLOURS = ("rgb", "grey")
"""The colours in which pictures are compared."""

_REMEDY = "docs/concepts/codec.md shows the format"

_COLUMNS = {
    "bpp": ("bpp",),
    "psnr": ("psnr-rgb", "psnr"),
    "ms_ssim": ("ms-ssim-rgb", "ms-ssim", "msssim", "ms_ssim"),
}
"""Value of a point -> the names of its column."""

_BOUNDS = {"bpp": (0.0, math.inf), "psnr": (-math.inf, math.inf), "ms_ssim": (0.0, 1.0)}
"""Value of a point -> the least and the highest one."""

_RANGES = {"bpp": "a number above 0", "psnr": "a number in dB", "ms_ssim": "a number in [0, 1], not in dB"}
"""Value of a point -> its range in words."""


@dataclass(frozen=True)
class PublishedCurves:
    """The content of a file.

    Attributes:
        curves: Name -> points, in the order of the file.
        colours: "rgb" or "grey"; None if the file does not say so.
        images: Names of the pictures that the curves are means over; None if the file does not say so.
    """

    curves: Mapping[str, tuple[Point, ...]]
    colours: str | None = None
    images: frozenset[str] | None = None


def read_curves(path: Path) -> PublishedCurves:
    """Reads curves from a JSON file.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing or is not JSON, or has another layout; or a value is missing or out of its range.
    """
    if path.is_dir():
        raise DataError(f"{path}: should be a JSON file of curves, found a folder; name the file in it")
    document = read_json(path, error=DataError, remedy=_REMEDY)
    colours = document.get("colours")
    if colours is not None and colours not in COLOURS:
        raise DataError(f"{path}: colours should be one of {', '.join(COLOURS)}, found {_found(colours)}")
    images = document.get("images")
    curves = {
        shown(name): tuple(
            _point(values, f"{path}: curve {name!r}, point {index}") for index, values in enumerate(rows, 1)
        )
        for name, rows in _rows(document, path).items()
    }
    for name, points in curves.items():
        if not points:
            raise DataError(f"{path}: curve {name!r} should have at least one point, found none; {_REMEDY}")
    return PublishedCurves(curves, colours, frozenset(images) if isinstance(images, dict) else None)


def _rows(document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Returns the points of each curve as they stand in the file, whatever its layout."""
    curves = document.get("curves")
    if curves is None:
        name = document.get("name")
        if not isinstance(name, str) or not name.strip():
            wanted = 'either "curves", or "name" with "points" or "results"'
            raise DataError(f"{path}: should have {wanted}, found {_keys(document)}; {_REMEDY}")
        results = document.get("results")
        curves = {name: document.get("points") if results is None else _of_columns(results, path)}
    if not isinstance(curves, dict) or not curves:
        raise DataError(f"{path}: curves should be an object of names, found {_found(curves)}; {_REMEDY}")
    for name, rows in curves.items():
        if not isinstance(rows, list):
            raise DataError(f"{path}: curve {name!r} should be a list of points, found {_found(rows)}; {_REMEDY}")
    return curves


def _of_columns(results: Any, path: Path) -> list[dict[str, Any]]:
    """Turns columns into points."""
    if not isinstance(results, dict):
        raise DataError(f"{path}: results should be an object of columns, found {_found(results)}; {_REMEDY}")
    columns = {
        value: results[next(name for name in names if name in results)]
        for value, names in _COLUMNS.items()
        if any(name in results for name in names)
    }
    for value, column in columns.items():
        if not isinstance(column, list) or len(column) != len(columns.get("bpp", column)):
            raise DataError(
                f"{path}: {value} in results should be a list with a number for each bpp, found {_found(column)}; "
                f"{_REMEDY}"
            )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _point(values: Any, place: str) -> Point:
    if not isinstance(values, dict):
        raise DataError(f"{place}: should be an object with bpp, psnr and ms_ssim, found {_found(values)}; {_REMEDY}")
    bpp, psnr, ms_ssim = (_number(values.get(name), name, place) for name in _BOUNDS)
    if bpp is None:
        raise DataError(f"{place}: should have bpp, found {_keys(values)}; {_REMEDY}")
    if psnr is None and ms_ssim is None:
        raise DataError(f"{place}: should have psnr or ms_ssim, found {_keys(values)}; {_REMEDY}")
    return Point(bpp, psnr, ms_ssim)


def _number(value: Any, name: str, place: str) -> float | None:
    if value is None:
        return None
    low, high = _BOUNDS[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high or (name == "bpp" and value == 0):
        raise DataError(f"{place}: {name} should be {_RANGES[name]}, found {_found(value)}; correct it")
    return float(value)


def _found(value: Any) -> str:
    """Returns a value of a file for a message: text and numbers as they are, the kind of anything longer."""
    kinds = {dict: "an object", list: f"a list of {len(value) if isinstance(value, list) else 0}"}
    return "nothing" if value is None else kinds.get(type(value)) or shown(repr(value)[:60])


def _keys(document: Mapping[str, Any]) -> str:
    return ", ".join(shown(key[:60]) for key in list(document)[:8]) or "nothing"
