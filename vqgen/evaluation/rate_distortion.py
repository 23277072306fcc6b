"""Compressed images measured beside JPEG, WebP and AVIF: bits per pixel against PSNR and MS-SSIM.

Legend: `c` channels, `H W` image.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, features

from vqgen.codec.codec import Codec
from vqgen.data import normalize_mode
from vqgen.errors import DataError
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.pixel_errors import ms_ssim_per_image

CURVE_QUALITIES = (1, 5, 10, 20, 30, 50, 70, 85, 95)
"""Qualities of the curves."""


@dataclass(frozen=True)
class Measured:
    """One image, compressed.

    Attributes:
        bytes: Length of the file.
        bpp: Bits per pixel.
        psnr: In dB, at most 100.
        ms_ssim: In [0, 1]; None where the image is smaller than the window.
        quality: The format's setting; None for ours.
    """

    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    quality: int | None = None


def peer_formats() -> dict[str, str]:
    """Name -> Pillow's name of each format that can be written here."""
    formats = {"JPEG": "JPEG"}
    formats |= {"WebP": "WEBP"} if features.check("webp") else {}
    return formats | ({"AVIF": "AVIF"} if features.check("avif") else {})


def measure_ours(codec: Codec, original: Image.Image, coder: str) -> Measured:
    """Compresses an image with our codec and brings it back."""
    data = codec.compress([original], coder=coder)[0]
    return _measured(original, codec.decompress([data])[0], len(data))


def measure_peer(original: Image.Image, name: str, quality: int) -> Measured:
    """Compresses an image in one of Pillow's formats and brings it back.

    Args:
        original: An image, `L` or `RGB`.
        name: Pillow's name of the format.
        quality: 0 to 100.
    """
    data = _write_peer(original, name, quality)
    with Image.open(io.BytesIO(data)) as restored:
        return _measured(original, restored, len(data), quality)


def nearest_peer(original: Image.Image, name: str, size: int) -> Measured:
    """The quality whose file is nearest to `size` bytes; files grow with the quality, nearly always."""
    lengths: dict[int, int] = {}

    def length(quality: int) -> int:
        if quality not in lengths:
            lengths[quality] = len(_write_peer(original, name, quality))
        return lengths[quality]

    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if length(middle) <= size else (low, middle)
    return measure_peer(original, name, min((low, high), key=lambda quality: abs(length(quality) - size)))


def compare(codec: Codec, picture: Image.Image, coder: str) -> dict[str, Measured]:
    """An image in our format, and the nearest file in size of every other one.

    Args:
        codec: Our codec.
        picture: Of any mode; all formats get it in the model's colours.
        coder: As in `Codec.compress`.

    Raises:
        DataError: A format does not take images of this size.
    """
    original = in_models_colours(codec, picture)
    ours = measure_ours(codec, original, coder)
    peers = {name: nearest_peer(original, pillow, ours.bytes) for name, pillow in peer_formats().items()}
    return {"vqgen": ours, **peers}


def curve_points(codec: Codec, picture: Image.Image) -> dict[str, list[Measured]]:
    """An image at each of the qualities, in each of the other formats."""
    original = in_models_colours(codec, picture)
    return {
        name: [measure_peer(original, pillow, quality) for quality in CURVE_QUALITIES]
        for name, pillow in peer_formats().items()
    }


def mean_curves(points: Sequence[Mapping[str, Sequence[Measured]]]) -> dict[str, list[dict[str, float | None]]]:
    """Means over the images at each of the qualities, for each format."""
    return {
        name: [means([each[name][index] for each in points]) for index in range(len(CURVE_QUALITIES))]
        for name in points[0]
    }


def in_models_colours(codec: Codec, picture: Image.Image) -> Image.Image:
    """The picture in grey where the model knows grey images only, else as it is, without transparency."""
    normal = normalize_mode(picture)
    return normal.convert("L") if codec.parts.vqvae.config.image_channels == 1 else normal


def means(measured: Sequence[Measured]) -> dict[str, float | None]:
    """Mean of each figure; the quality's only where all have one, and MS-SSIM's over the images that have it."""
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
    """Multi-scale structural similarity; None where the image is smaller than the window. See `ms_ssim_per_image`."""
    pair = [torch.from_numpy(np.atleast_3d(np.asarray(each, dtype=np.float32))) for each in (restored, original)]
    found = ms_ssim_per_image(*(each.permute(2, 0, 1)[None] / 255 for each in pair))
    return None if found is None else float(found)


def table(rows: Sequence[Mapping[str, Measured]]) -> Iterator[str]:
    """Lines of the means, a format each."""
    yield f"{'format':<8}{'bpp':>9}{'bytes':>10}{'PSNR':>9}{'MS-SSIM':>9}"
    for name in rows[0]:
        found = means([row[name] for row in rows])
        similarity = "-" if found["ms_ssim"] is None else f"{found['ms_ssim']:.4f}"
        yield f"{name:<8}{found['bpp']:>9.4f}{found['bytes']:>10.0f}{found['psnr']:>9.2f}{similarity:>9}"


def _write_peer(original: Image.Image, name: str, quality: int) -> bytes:
    file = io.BytesIO()
    options = {"optimize": True} if name == "JPEG" else {"method": 6} if name == "WEBP" else {}
    try:
        original.save(file, name, quality=quality, **options)
    except (OSError, ValueError) as error:  # none of them takes every size
        size = f"{original.width} x {original.height}"
        raise DataError(f"an image of {size} cannot be written as {name}: {error}") from error
    return file.getvalue()


def _measured(original: Image.Image, restored: Image.Image, size: int, quality: int | None = None) -> Measured:
    restored = restored.convert(original.mode)
    bpp = 8 * size / (original.width * original.height)
    return Measured(size, bpp, psnr(original, restored), ms_ssim(original, restored), quality)
