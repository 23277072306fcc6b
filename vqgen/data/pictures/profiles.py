"""Embedded colour profiles: colours as they look, in sRGB.

The transforms are those of LittleCMS, with the perceptual intent, which every profile has.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 1 << 24
"""Larger profiles are ignored. A printer's profile has about two million bytes."""

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of a profile -> the mode of the pictures that it describes."""

_SAME = 2
"""Profiles that differ from sRGB by at most this, of 255, are sRGB: the many copies of it are rounded differently."""

_PROBED = 9
"""Values of each channel with which a profile is compared with sRGB."""


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts colours to sRGB; grey stays grey.

    Args:
        picture: Mode `L`, `RGB` or `CMYK`. It is not changed.
        profile: The embedded profile (ICC). A broken one, or one of another colour space, says nothing.

    Returns:
        A picture of mode `L` or `RGB`: the same object, if the profile is that of sRGB.
    """
    transform = _transform(profile, picture.mode) if profile and len(profile) <= MAX_PROFILE_BYTES else None
    if transform is not None:
        return picture.point(_greys(transform).tolist()) if picture.mode == "L" else _applied(picture, transform)
    # Without a profile: red is what neither cyan nor black ink takes away, (1 - c) * (1 - k).
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def deep_to_srgb(profile: bytes | None, channels: int) -> "Callable[[NDArray], NDArray[np.uint8]] | None":
    """Returns the conversion of colours of more than 8 bits; None if the colours are sRGB already.

    LittleCMS is reached with 8 bits only. Linear light would have few dark levels, so the results of the neighbours in
    8 bits are interpolated.

    Args:
        profile: The embedded profile.
        channels: 1 for grey, 3 for RGB.
    """
    mode = "L" if channels == 1 else "RGB"
    transform = _transform(profile, mode) if profile and len(profile) <= MAX_PROFILE_BYTES else None
    if transform is None:
        return None

    apply = _greys(transform).__getitem__ if channels == 1 else lambda colours: _applied_to(colours, transform)

    def convert(scaled: NDArray) -> NDArray[np.uint8]:
        low = np.minimum(np.floor(scaled), 254)
        share = scaled - low
        mixed = np.zeros(scaled.shape)
        for corner in itertools.product((0, 1), repeat=channels):
            weight = np.where(corner, share, 1 - share).prod(axis=-1, keepdims=True)
            mixed += weight * apply((low + corner).astype(np.uint8))
        return np.floor(mixed + 0.5).astype(np.uint8)

    return convert


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Returns the transform to sRGB; None for a profile that is not one of this mode, and for sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = getattr(source.profile, "xcolor_space", "")  # Pillow's annotations lack it
        if _MODES.get(space.strip()) != mode:
            return None
        # For greys LittleCMS would tabulate a curve coarsely, which is ten levels off in dark linear light.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
        probe = _probe(mode)
        found = _applied(probe, transform)
    except Exception:  # LittleCMS refuses broken profiles with errors of several kinds
        return None
    same = mode != "CMYK" and _largest_difference(found, probe.convert("RGB")) <= _SAME
    return None if same else transform


def _applied(picture: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None, "only a transform in place returns nothing"
    return converted


def _applied_to(colours: NDArray[np.uint8], transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    return np.asarray(_applied(Image.fromarray(colours), transform))


def _greys(transform: ImageCms.ImageCmsTransform) -> NDArray[np.uint8]:
    """Returns the result for each of the 256 greys."""
    # A transform of greys ends in RGB, because sRGB has no grey form. Its three channels are equal.
    return np.asarray(_applied(_probe("L"), transform))[0, :, 1]


def _probe(mode: str) -> Image.Image:
    """Returns a picture with an even choice of all colours of a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    values = np.linspace(0, 255, _PROBED).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[values] * len(mode), indexing="ij"), axis=-1).reshape(1, -1, len(mode))
    return Image.frombytes(mode, (grid.shape[1], 1), grid.tobytes())


def _largest_difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())
