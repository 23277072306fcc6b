"""Compressed images beside JPEG, WebP and AVIF: bits per pixel against PSNR and MS-SSIM.

Legend: `c` channels, `H W` image.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, features

from vqgen.codec.codec import Codec
from vqgen.data import normalize_mode
from vqgen.errors import DataError
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.large_pictures import PIXELS_AT_A_TIME, ms_ssim_in_strips
from vqgen.evaluation.pixel_errors import WINDOW, ms_ssim_per_image

Result = TypeVar("Result")

# At most 95: beyond it JPEG files grow and hardly gain quality (documentation of Pillow).
CURVE_QUALITIES = (1, 5, 10, 20, 30, 50, 70, 85, 95)
"""Qualities of the curves."""


@dataclass(frozen=True)
class Measured:
    """The measurements of one compressed image.

    Attributes:
        bytes: Length of the file.
        bpp: Bits per pixel.
        psnr: In dB, at most 100.
        ms_ssim: In [0, 1]; None if the image is smaller than the window.
        quality: The quality setting of the format; None for our format.
    """

    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    quality: int | None = None


def peer_formats() -> dict[str, str]:
    """Returns the formats that this machine can write: name -> Pillow's name."""
    formats = {"JPEG": "JPEG"}
    formats |= {"WebP": "WEBP"} if features.check("webp") else {}
    return formats | ({"AVIF": "AVIF"} if features.check("avif") else {})


def measure_ours(codec: Codec, original: Image.Image, coder: str) -> Measured:
    """Compresses an image with our codec and decodes it again."""
    data = codec.compress([original], coder=coder)[0]
    return _measured(original, codec.decompress([data])[0], len(data))


def measure_peer(original: Image.Image, name: str, quality: int) -> Measured:
    """Compresses an image in one of Pillow's formats and decodes it again.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        quality: 0 to 100.

    Raises:
        DataError: The format cannot hold an image of this size.
    """
    data = write_peer(original, name, quality)
    with Image.open(io.BytesIO(data)) as restored:
        return _measured(original, restored, len(data), quality)


def nearest_peer(original: Image.Image, name: str, size: int) -> Measured:
    """Measures a format at the quality whose file is nearest in length to `size`.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        size: Length in bytes.
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
    return measure_peer(original, name, min((low, high), key=lambda quality: abs(length(quality) - size)))


def compare(codec: Codec, picture: Image.Image, coder: str) -> dict[str, Measured]:
    """Compresses an image in our format, and in every other format to the nearest length.

    Args:
        codec: Our codec.
        picture: A picture of any mode; all formats receive it in the model's colours.
        coder: As in `Codec.compress`.

    Returns:
        Name of the format -> measurements; ours is "vqgen". A format that cannot hold an image of this size is absent.
    """
    original = in_models_colours(codec, picture)
    ours = measure_ours(codec, original, coder)
    return {"vqgen": ours} | _of_peers(lambda pillow: nearest_peer(original, pillow, ours.bytes))


def curve_points(codec: Codec, picture: Image.Image) -> dict[str, list[Measured]]:
    """Measures an image at each quality of the curves, in each of the other formats that can hold it."""
    original = in_models_colours(codec, picture)
    return _of_peers(lambda pillow: [measure_peer(original, pillow, quality) for quality in CURVE_QUALITIES])


def mean_curves(points: Sequence[Mapping[str, Sequence[Measured]]]) -> dict[str, list[dict[str, float | None]]]:
    """Computes the means over the images at each quality, for each format that can hold all of them."""
    return {
        name: [means([each[name][index] for each in points]) for index in range(len(CURVE_QUALITIES))]
        for name in common_formats(points)
    }


def common_formats(compared: Sequence[Mapping[str, object]]) -> list[str]:
    """Returns the formats that can hold all images: means over different images cannot be compared."""
    return [name for name in compared[0] if all(name in each for each in compared)]


def left_out(compared: Sequence[Mapping[str, Measured]]) -> dict[str, str]:
    """Returns each format or metric that is left out of the means, or has a mean over some images only -> the reason.

    Args:
        compared: For each image, name of the format -> measurements.
    """
    total = len(compared)
    common = common_formats(compared)
    reasons = {
        name: f"it cannot hold {sum(name not in each for each in compared)} of {total} images"
        for name in dict.fromkeys(name for each in compared for name in each)
        if name not in common
    }
    small = sum(each["vqgen"].ms_ssim is None for each in compared)
    if small:
        reasons["ms_ssim"] = f"{small} of {total} images are smaller than its window of {WINDOW} x {WINDOW} pixels"
    return reasons


def in_models_colours(codec: Codec, picture: Image.Image) -> Image.Image:
    """Converts a picture to grey if the model supports grey images only, and lays transparent pixels on white."""
    # All formats get the same picture: no other format should pay for colours that ours cannot hold.
    normal = normalize_mode(picture)
    is_grey = codec.parts.vqvae.config.image_channels == 1
    return normal.convert("L") if is_grey and normal.mode != "L" else normal


def means(measured: Sequence[Measured]) -> dict[str, float | None]:
    """Computes the mean of each measurement.

    Args:
        measured: At least one image.

    Returns:
        Name -> mean. MS-SSIM is over the images that have it, None if none has it. The quality is included only if
        all images have one.
    """
    result: dict[str, float | None] = {
        "bytes": float(np.mean([each.bytes for each in measured])),
        "bpp": float(np.mean([each.bpp for each in measured])),
        "psnr": float(np.mean([each.psnr for each in measured])),
    }
    known = [each.ms_ssim for each in measured if each.ms_ssim is not None]
    result["ms_ssim"] = float(np.mean(known)) if known else None
    qualities = [each.quality for each in measured if each.quality is not None]
    if len(qualities) == len(measured):
        result["quality"] = float(np.mean(qualities))
    return result


def ms_ssim(original: Image.Image, restored: Image.Image) -> float | None:
    """Computes the multi-scale structural similarity; None if the image is smaller than the window.

    See `ms_ssim_per_image`.
    """
    if original.width * original.height > PIXELS_AT_A_TIME:
        return ms_ssim_in_strips(restored, original)
    pair = [torch.from_numpy(np.atleast_3d(np.asarray(each, dtype=np.float32))) for each in (restored, original)]
    found = ms_ssim_per_image(*(each.permute(2, 0, 1)[None] / 255 for each in pair))
    return None if found is None else float(found)


def table_rows(compared: Sequence[Mapping[str, Measured]]) -> list[list[str]]:
    """Returns the rows of a table of means: the names of the columns, then a row per format.

    Args:
        compared: For each image, name of the format -> measurements.
    """
    rows = [["format", "bpp", "bytes", "PSNR", "MS-SSIM"]]
    for name in common_formats(compared):
        found = means([each[name] for each in compared])
        similarity = "-" if found["ms_ssim"] is None else f"{found['ms_ssim']:.4f}"
        rows.append([name, f"{found['bpp']:.4f}", f"{found['bytes']:.0f}", f"{found['psnr']:.2f}", similarity])
    return rows


def document(
    compared: Mapping[str, Mapping[str, Measured]], points: Sequence[Mapping[str, Sequence[Measured]]]
) -> dict[str, Any]:
    """Collects all measurements as values for JSON.

    Args:
        compared: Name of the image -> name of the format -> measurements.
        points: For each image, its points on the curves.

    Returns:
        "means" over the images, "images" one by one, mean "curves", each by format, and the reasons of what is
        "left_out" of the means.
    """
    formats = common_formats(list(compared.values()))
    return {
        "means": {name: means([each[name] for each in compared.values()]) for name in formats},
        "images": {
            image: {name: asdict(measured) for name, measured in each.items()} for image, each in compared.items()
        },
        "curves": mean_curves(points),
        "left_out": left_out(list(compared.values())),
    }


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


def write_peer(original: Image.Image, name: str, quality: int) -> bytes:
    """Writes a picture in one of Pillow's formats; arguments and errors as in `measure_peer`."""
    file = io.BytesIO()
    # Each format at its best effort: a careless setting of the others would flatter ours.
    options = {"optimize": True} if name == "JPEG" else {"method": 6} if name == "WEBP" else {}
    try:
        original.save(file, name, quality=quality, **options)
    except (OSError, ValueError) as error:  # every format has a largest side
        size = f"{original.width} x {original.height}"
        raise DataError(f"an image of {size} cannot be written as {name}: {error}") from error
    return file.getvalue()


def _measured(original: Image.Image, restored: Image.Image, size: int, quality: int | None = None) -> Measured:
    # WebP has no grey mode and returns a grey picture as RGB.
    if restored.mode != original.mode:
        restored = restored.convert(original.mode)
    bpp = 8 * size / (original.width * original.height)
    return Measured(size, bpp, psnr(original, restored), ms_ssim(original, restored), quality)
