"""Curves of rate and distortion as data: a codec has a curve, and a curve has points."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_LEAST_LOSS = 1e-10
"""Bounds MS-SSIM at 100 dB, as the PSNR is: a lossless file leaves curves finite."""

SETTINGS = ("quality", "checkpoint")
"""Fields of a point that name its setting."""


@dataclass(frozen=True)
class Point:
    """A point of a curve: one setting of a codec, as means over the pictures.

    Attributes:
        bpp: Bits per pixel, above 0.
        psnr: In dB; None if it is not known.
        ms_ssim: In [0, 1]; None if it is not known.
        lpips: The perceptual distance; None if it is not known.
        bytes: Length of a file; None if it is not known.
        write_seconds: Time of writing a file; None if it is not known.
        read_seconds: Time of reading a file; None if it is not known.
        quality: The quality setting of the format; None for a codec without one.
        checkpoint: The name of our rate: its checkpoint; None for another format.
    """

    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None
    lpips: float | None = None
    bytes: float | None = None
    write_seconds: float | None = None
    read_seconds: float | None = None
    quality: float | None = None
    checkpoint: str | None = None

    def document(self) -> dict[str, Any]:
        """Returns the values for JSON. A setting that the codec does not have is absent; an unknown value is null."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in SETTINGS}


Curves = Mapping[str, Sequence[Point]]
"""Name of a codec -> its curve, in any order of points."""


def decibels(ms_ssim: float | None) -> float | None:
    """Converts MS-SSIM to dB, -10 log10(1 - MS-SSIM), as codecs are compared by it; at most 100.

    Args:
        ms_ssim: In [0, 1]; None stays None.
    """
    return None if ms_ssim is None else -10 * math.log10(max(1 - ms_ssim, _LEAST_LOSS))


QUALITIES: Mapping[str, Callable[[Point], float | None]] = {
    "psnr": lambda point: point.psnr,
    "ms_ssim": lambda point: decibels(point.ms_ssim),
}
"""Metric -> its value at a point in dB; None if the point has none."""

TITLES = {"psnr": "PSNR", "ms_ssim": "MS-SSIM"}
"""Metric -> its name in tables."""


def nearest_point(points: Sequence[Point], bpp: float) -> Point:
    """Returns the point whose rate is nearest, by the ratio of the rates.

    Args:
        points: At least one.
        bpp: The rate.
    """
    return min(points, key=lambda point: abs(math.log(point.bpp / bpp)))
