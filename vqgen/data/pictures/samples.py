"""Samples as a file has them, and their way to 8 bits.

Legend: `h w` pixels, `c` colour channels, 1 or 3.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqgen.config.data import ValueRange
from vqgen.data.pictures.reading import Reading
from vqgen.errors import DataError

To8Bits = Callable[[NDArray[np.float64]], NDArray[np.uint8]]
"""From colours in 0..255 to 8 bits."""

_BLOCK = 1 << 20
"""Samples that are converted at a time: intermediate numbers have eight bytes each."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a picture, in the units of its file.

    Attributes:
        values: `(h, w, c)` colours, integers or floats.
        kind: Their name in messages, such as "12-bit" or "float32".
        own_range: Values of black and white by the definition of the file; None for samples that have no range.
        is_inverted: True if the low end is white.
        alpha: `(h, w)` opacity; None without an alpha plane.
        alpha_high: The value of full opacity.
        is_associated: True if the colours are multiplied by the opacity.
    """

    values: NDArray
    kind: str
    own_range: ValueRange | None
    is_inverted: bool = False
    alpha: NDArray | None = None
    alpha_high: float = 255.0
    is_associated: bool = False

    def checked(self) -> "Samples":
        """Returns the samples, and refuses numbers that are not finite.

        Raises:
            DataError: A sample is infinite or not a number.
        """
        for name, values in (("samples", self.values), ("opacities", self.alpha)):
            if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(f"{name} should be finite numbers, found infinite ones or NaN")
        return self


def sample_range(samples: Samples, reading: Reading) -> ValueRange:
    """Returns the values of black and white: the declared ones, the file's own ones, or the measured ones.

    Raises:
        DataError: There are none.
    """
    found = reading.value_range or samples.own_range or reading.measured_range
    if found is None:
        raise DataError(
            f"its samples are {samples.kind}, which define no values of black and white: a run measures them over its "
            "training images, or takes --data.value-range LOW HIGH, and saves them with the model; in Python give "
            "Reading(value_range=(LOW, HIGH))"
        )
    return found


def rounded(scaled: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Rounds numbers of 0 to 255 to the nearest; halves go up."""
    return np.floor(scaled + 0.5).astype(np.uint8)


def to_picture(samples: Samples, reading: Reading, to_8_bits: To8Bits = rounded) -> Image.Image:
    """Maps samples to 8 bits: black to 0, white to 255, linearly and clipped.

    Colours that are multiplied by their opacity are divided by it before.

    Args:
        samples: The samples.
        reading: The ranges of samples.
        to_8_bits: Makes 8 bits of colours in 0..255, `(h, w, c)`; rounds to the nearest if it is not given.

    Returns:
        A picture of mode `L`, `RGB`, `LA` or `RGBA`.

    Raises:
        DataError: The samples are not finite, or have no range.
    """
    samples = samples.checked()
    low, high = sample_range(samples, reading)
    alpha = None if samples.alpha is None or not samples.alpha.any() else samples.alpha
    height, width, channels = samples.values.shape
    if _is_8_bits(samples, low, high) and alpha is None and to_8_bits is rounded:
        return Image.fromarray(samples.values[..., 0] if channels == 1 else np.ascontiguousarray(samples.values))
    pixels = np.empty((height, width, channels + (alpha is not None)), np.uint8)
    # Numbers from white to black are those from black to white with the ends exchanged.
    black, white = (high, low) if samples.is_inverted else (low, high)
    table = _table(samples.values.dtype, black, white) if to_8_bits is rounded else None
    for rows in row_blocks(height, width * channels):
        values = samples.values[rows]
        if alpha is not None:
            pixels[rows, :, channels] = rounded(_scaled(alpha[rows], 0, samples.alpha_high))
        if alpha is not None and samples.is_associated:
            values = _divided(values, alpha[rows, :, None] / samples.alpha_high)
        elif table is not None:
            pixels[rows, :, :channels] = table[values]
            continue
        pixels[rows, :, :channels] = to_8_bits(_scaled(values, black, white))
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def remapped(picture: Image.Image, value_range: ValueRange) -> Image.Image:
    """Maps the colours of a picture of 8-bit samples by a declared range; an alpha plane stays as it is.

    Args:
        picture: Mode `L`, `RGB`, `LA` or `RGBA`.
        value_range: Values of black and white.
    """
    table = rounded(_scaled(np.arange(256), *value_range)).tolist()
    colours = len(picture.getbands()) - ("A" in picture.mode)
    return picture.point(table * colours + list(range(256)) * ("A" in picture.mode))


def _is_8_bits(samples: Samples, low: float, high: float) -> bool:
    return samples.values.dtype == np.uint8 and (low, high) == (0, 255) and not samples.is_inverted


def _table(dtype: np.dtype, low: float, high: float) -> NDArray[np.uint8] | None:
    # A look-up is exact and several times as fast as arithmetic.
    is_small = dtype.kind == "u" and dtype.itemsize < 3
    return rounded(_scaled(np.arange(1 << 8 * dtype.itemsize), low, high)) if is_small else None


def _scaled(values: NDArray, low: float, high: float) -> NDArray[np.float64]:
    # In this order halves are exact.
    return np.clip((values.astype(np.float64) - low) * 255 / (high - low), 0, 255)


def _divided(values: NDArray, opacity: NDArray) -> NDArray[np.float64]:
    # Nothing is known of a colour without opacity; as it is not seen either, it stays as it is.
    return values.astype(np.float64) / np.where(opacity > 0, opacity, 1)


def row_blocks(height: int, row: int) -> Iterator[slice]:
    """Cuts the rows of a picture into blocks of about a million samples, or one row.

    Args:
        height: Number of rows.
        row: Samples of a row.
    """
    step = max(1, _BLOCK // max(1, row))
    return (slice(start, min(start + step, height)) for start in range(0, height, step))
