"""The values that pictures use: the range of those that have none of their own, and sets that use little of it."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vqgen.config.data import ValueRange
from vqgen.data.pictures.alpha import colours_of
from vqgen.data.pictures.conversion import plain
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.samples import Samples
from vqgen.storage.names import counted

_LITTLE = 1 / 8
"""A set that uses less than this share of its range is probably one of another range."""

_OUTLIERS = 0.05
"""Share of the pictures at either end that do not count: a single broken pixel would hide a range that does not fit."""


@dataclass(frozen=True)
class Extent:
    """The values of one picture.

    Attributes:
        kind: Name of the samples, such as "12-bit" or "float32".
        low, high: The least and the greatest value of its colours.
        own_range: Values of black and white by its file; None if its samples have no range.
    """

    kind: str
    low: float
    high: float
    own_range: ValueRange | None


def extent_of(decoded: Decoded) -> Extent:
    """Measures a picture.

    Raises:
        DataError: A sample is infinite or not a number.
    """
    if isinstance(decoded.pixels, Samples):
        samples = decoded.pixels.checked()
        low, high = float(samples.values.min()), float(samples.values.max())
        return Extent(samples.kind, low, high, samples.own_range)
    return _of_8_bits(colours_of(plain(decoded.pixels)))


def _of_8_bits(picture: Image.Image) -> Extent:
    bands = np.array(picture.getextrema()).reshape(-1, 2)
    return Extent("8-bit", int(bands[:, 0].min()), int(bands[:, 1].max()), (0, 255))


def common_range(extents: Collection[Extent]) -> ValueRange | None:
    """Returns the range of all samples that have none of their own; None if there are no such samples."""
    found = [extent for extent in extents if extent.own_range is None]
    if not found:
        return None
    low, high = min(extent.low for extent in found), max(extent.high for extent in found)
    return low, high if high > low else low + 1


def told_range(extents: Collection[Extent], measured: ValueRange) -> str:
    """Returns a sentence about a range that was measured.

    Args:
        extents: The training images.
        measured: Their range.
    """
    kinds = sorted({extent.kind for extent in extents if extent.own_range is None})
    count = sum(extent.own_range is None for extent in extents)
    return (
        f"the samples of {counted(count, 'image')} ({', '.join(kinds)}) define no values of black and white: "
        f"{measured[0]:.6g} is black and {measured[1]:.6g} is white, as measured over the training images; "
        "--data.value-range gives others"
    )


def little_used(extents: Collection[Extent], value_range: ValueRange | None, measured: ValueRange | None) -> list[str]:
    """Lists the kinds of samples that use a small part of their range, a sentence for each.

    Args:
        extents: The training images.
        value_range: The declared range of all of them; None for each file's own.
        measured: The range of the samples that have none of their own; None if there are none.
    """
    by_kind: dict[tuple[str, ValueRange], list[Extent]] = {}
    for extent in extents:
        scale = value_range or extent.own_range or measured
        if scale is not None:
            by_kind.setdefault((extent.kind, scale), []).append(extent)
    return [line for (kind, scale), found in by_kind.items() if (line := _little_of(kind, scale, found))]


def _little_of(kind: str, scale: ValueRange, extents: list[Extent]) -> str | None:
    drop = int(_OUTLIERS * len(extents))
    low = max(scale[0], sorted(extent.low for extent in extents)[drop])
    high = min(scale[1], sorted((extent.high for extent in extents), reverse=True)[drop])
    if high - low >= _LITTLE * (scale[1] - scale[0]):
        return None
    levels = max(1, round(256 * max(0.0, high - low) / (scale[1] - scale[0])))
    least, most = _suggested(kind, low, high)
    return (
        f"the samples of {len(extents)} {kind} images use {low:.6g} to {high:.6g} of {scale[0]:.6g} to {scale[1]:.6g}, "
        f"so the model sees about {levels} of 256 levels; if they mean more, declare black and white: "
        f"--data.value-range {least:.6g} {most:.6g}"
    )


def _suggested(kind: str, low: float, high: float) -> ValueRange:
    """Returns a likely range: from 0 to all bits that are used, or for floats the values themselves."""
    if kind.startswith("float"):
        return (0.0 if 0 <= low < high / 2 else low), high if high > low else low + 1
    if low < 0:
        return low, max(high, low + 1)
    return 0.0, float((1 << max(1, math.floor(high).bit_length())) - 1)
