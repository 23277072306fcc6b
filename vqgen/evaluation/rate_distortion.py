r"""Compressed pictures measured: bits per pixel, PSNR, MS-SSIM, LPIPS and times, in our format and in others.

picture --> in the colours of the model --> each rate of vqgen --> Measured
                                       \-> other formats: the nearest size, and each quality --> Measured

Legend: `c` channels, `H W` image.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqgen.codec import Codec, Coder, ImageCodes
from vqgen.codec.rate_search import BEST_QUALITY
from vqgen.config import LPIPS_SIDE
from vqgen.data import normalize_mode, to_float
from vqgen.errors import DataError
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.curves import Point
from vqgen.evaluation.large_pictures import PIXELS_AT_A_TIME, ms_ssim_in_strips
from vqgen.evaluation.peer_formats import peer_formats, read_peer, write_peer
from vqgen.evaluation.pixel_errors import ms_ssim_per_image

Result = TypeVar("Result")

# At most 95: beyond it JPEG files grow and hardly gain quality (documentation of Pillow).
CURVE_QUALITIES = (1, 5, 10, 20, 30, 50, 70, 85, 95)
"""Qualities of the curves."""

MOST_LPIPS_PIXELS = 1 << 23
"""Pixels of a picture that LPIPS is computed of, at most: its features take about 100 bytes a pixel."""


@dataclass(frozen=True)
class Rate:
    """One rate of vqgen: a point of its curve.

    Attributes:
        checkpoint: The checkpoint, as the user names it.
        codec: Its codec.
        coder: As in `Codec.compress`.
        quality: As in `Codec.compress`.
    """

    checkpoint: str
    codec: Codec
    coder: str = "auto"
    quality: float = BEST_QUALITY

    @property
    def name(self) -> str:
        """The name of the rate, different for each rate of a call."""
        return self.checkpoint if self.quality == BEST_QUALITY else f"{self.checkpoint} at {self.quality:g}"

    @property
    def uses_prior(self) -> bool:
        """True if the coder may take the prior.

        Raises:
            ConfigError: There is no such coder, or the pipeline lacks its models.
        """
        return Coder.PRIOR in self.codec.models.offered(self.coder)

    def prepare(self) -> None:
        """Builds the priors of the codec, which otherwise happens while the first picture is timed.

        Raises:
            ConfigError: The coder has no such quality.
        """
        self.codec.rate_search(self.coder, self.quality, None)
        for level in self.codec.parts.priors if self.uses_prior else ():
            self.codec.models.prior(level)


@dataclass(frozen=True)
class Yardstick:
    """The way in which an original and a decoded picture are compared.

    Attributes:
        grey: True compares the luma of both, False the colours that they have.
        lpips: From `load_lpips`; None leaves LPIPS out.
    """

    grey: bool = False
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Measured:
    """The measurements of one compressed image.

    Attributes:
        bytes: Length of the file.
        bpp: Bits per pixel.
        psnr: In dB, at most 100.
        ms_ssim: In [0, 1]; None if the image is smaller than the window.
        quality: The quality setting of the format; None for our format.
        lpips: The perceptual distance; None if it was not asked for, or the image is too small or too large.
        write_seconds: Time from the picture to the bytes of the file.
        read_seconds: Time from these bytes to the picture.
    """

    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    quality: int | None = None
    lpips: float | None = None
    write_seconds: float = 0.0
    read_seconds: float = 0.0


def measure_ours(rate: Rate, original: Image.Image, yardstick: Yardstick) -> tuple[Measured, ImageCodes]:
    """Compresses an image with our codec and decodes it again.

    Args:
        rate: The rate.
        original: The image, in the colours of the model.
        yardstick: The comparison.

    Returns:
        The measurements, and the codes. The time of writing includes the check that the file can be read.
    """
    codec = rate.codec
    offered = codec.models.offered(rate.coder)
    begin = time.perf_counter()
    codes = codec.encode([original], coder=rate.coder, quality=rate.quality)
    data = codec.pack(codes, offered)[0]
    written = time.perf_counter()
    restored = codec.decompress([data])[0]
    seconds = (written - begin, time.perf_counter() - written)
    return _measured(original, restored, len(data), yardstick, seconds), codes[0]


def measure_peer(original: Image.Image, name: str, quality: int, yardstick: Yardstick | None = None) -> Measured:
    """Compresses an image in one of Pillow's formats and decodes it again.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        quality: 0 to 100.
        yardstick: The comparison; None for the colours of the image, without LPIPS.

    Raises:
        DataError: The format cannot hold an image of this size.
    """
    begin = time.perf_counter()
    data = write_peer(original, name, quality)
    written = time.perf_counter()
    restored = read_peer(data)
    seconds = (written - begin, time.perf_counter() - written)
    return _measured(original, restored, len(data), yardstick or Yardstick(), seconds, quality)


def nearest_peer(original: Image.Image, name: str, size: int, yardstick: Yardstick | None = None) -> Measured:
    """Measures a format at the quality whose file is nearest in length to `size`.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        size: Length in bytes.
        yardstick: As in `measure_peer`.
    """
    lengths: dict[int, int] = {}

    def length(quality: int) -> int:
        if quality not in lengths:
            lengths[quality] = len(write_peer(original, name, quality))
        return lengths[quality]

    # Bisection: files grow with the quality, nearly always; 8 files are written instead of 101.
    low = 0
    high = 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if length(middle) <= size else (low, middle)
    nearest = min((low, high), key=lambda quality: abs(length(quality) - size))
    return measure_peer(original, name, nearest, yardstick)


def nearest_peers(original: Image.Image, size: int, yardstick: Yardstick) -> dict[str, Measured]:
    """Measures an image in every other format, at the quality with the nearest length.

    Args:
        original: The image, in the colours of the model.
        size: Length in bytes.
        yardstick: The comparison.

    Returns:
        Name of the format -> measurements. A format that cannot hold an image of this size is absent.
    """
    return _of_peers(lambda pillow: nearest_peer(original, pillow, size, yardstick))


def curve_points(original: Image.Image, yardstick: Yardstick) -> dict[str, list[Measured]]:
    """Measures an image at each quality of the curves, in each of the other formats that can hold it.

    Args:
        original: The image, in the colours of the model.
        yardstick: The comparison.
    """
    return _of_peers(lambda pillow: [measure_peer(original, pillow, each, yardstick) for each in CURVE_QUALITIES])


def in_models_colours(codec: Codec, picture: Image.Image) -> Image.Image:
    """Converts a picture to grey if the model supports grey images only, and lays transparent pixels on white."""
    # All formats get the same picture: no other format should pay for colours that ours cannot hold.
    normal = normalize_mode(picture)
    is_grey = codec.parts.vqvae.config.image_channels == 1
    return normal.convert("L") if is_grey and normal.mode != "L" else normal


def mean_point(measured: Sequence[Measured], rate: str | None = None) -> Point:
    """Computes the mean of each measurement.

    Args:
        measured: At least one image.
        rate: The name of our rate; None for another format.

    Returns:
        The means. MS-SSIM and LPIPS are over the images that have them, None if no image has it. The quality is None
        unless all images have one.
    """
    qualities = [each.quality for each in measured if each.quality is not None]
    return Point(
        bpp=_mean([each.bpp for each in measured]),
        psnr=_mean([each.psnr for each in measured]),
        ms_ssim=_known_mean([each.ms_ssim for each in measured]),
        lpips=_known_mean([each.lpips for each in measured]),
        bytes=_mean([each.bytes for each in measured]),
        write_seconds=_mean([each.write_seconds for each in measured]),
        read_seconds=_mean([each.read_seconds for each in measured]),
        quality=_mean(qualities) if len(qualities) == len(measured) else None,
        checkpoint=rate,
    )


def ms_ssim(original: Image.Image, restored: Image.Image) -> float | None:
    """Computes the multi-scale structural similarity; None if the image is smaller than the window.

    See `ms_ssim_per_image`.
    """
    if original.width * original.height > PIXELS_AT_A_TIME:
        return ms_ssim_in_strips(restored, original)
    pair = [torch.from_numpy(np.atleast_3d(np.asarray(each, dtype=np.float32))) for each in (restored, original)]
    found = ms_ssim_per_image(*(each.permute(2, 0, 1)[None] / 255 for each in pair))
    return None if found is None else float(found)


def has_lpips(width: int, height: int) -> bool:
    """Returns True for a picture that is neither too small nor too large for LPIPS."""
    return min(width, height) >= LPIPS_SIDE and width * height <= MOST_LPIPS_PIXELS


def _of_peers(measure: Callable[[str], Result]) -> dict[str, Result]:
    """Measures an image in each of the other formats that can hold it.

    Args:
        measure: A function of Pillow's name of a format.
    """
    found = {}
    for name, pillow in peer_formats().items():
        with suppress(DataError):  # a format has a largest side; the others are measured
            found[name] = measure(pillow)
    return found


def _measured(
    original: Image.Image,
    restored: Image.Image,
    size: int,
    yardstick: Yardstick,
    seconds: tuple[float, float],
    quality: int | None = None,
) -> Measured:
    bpp = 8 * size / (original.width * original.height)
    # WebP has no grey mode and returns a grey picture as RGB.
    mode = "L" if yardstick.grey else original.mode
    one, other = (each if each.mode == mode else each.convert(mode) for each in (original, restored))
    distance = _lpips(one, other, yardstick)
    return Measured(size, bpp, psnr(one, other), ms_ssim(one, other), quality, distance, *seconds)


def _lpips(one: Image.Image, other: Image.Image, yardstick: Yardstick) -> float | None:
    if yardstick.lpips is None or not has_lpips(*one.size):
        return None
    # AlexNet takes three channels; those of a grey picture are alike.
    arrays = [np.array(each.convert("RGB")) for each in (other, one)]
    pair = [to_float(torch.from_numpy(each).permute(2, 0, 1)[None]) for each in arrays]
    return float(yardstick.lpips(*pair))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
