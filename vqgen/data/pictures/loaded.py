"""Pictures that Pillow has loaded: the samples behind its modes."""

import numpy as np
from PIL import Image

from vqgen.data.pictures.alpha import key_alpha
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.orientation import orientation_of
from vqgen.data.pictures.samples import Samples
from vqgen.data.pictures.tiff import loaded_samples

_FORMATS_WITH_16_BITS_IN_I = ("PNG", "PPM")
"""Pillow before 11 opens 16-bit files of these formats in mode "I". In other formats that mode defines no range."""


def taken_apart(image: Image.Image) -> Decoded:
    """Loads a picture of Pillow, and takes it apart: its pixels or samples, its profile and its orientation."""
    image.load()  # before the orientation is read: loading a TIFF turns it upright
    profile = image.info.get("icc_profile")
    pixels = _samples(image)
    is_of_file = image.format is not None
    return Decoded(image if pixels is None else pixels, profile, orientation_of(image), is_of_file)


def _samples(image: Image.Image) -> Samples | None:
    """Returns the samples of a picture of more than 8 bits; None for 8 bits."""
    has_16_bits = image.mode == "I" and image.format in _FORMATS_WITH_16_BITS_IN_I
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return None
    values = np.asarray(image)[..., None]
    if image.mode in ("I", "F") and not has_16_bits:
        return Samples(values, "float32" if image.mode == "F" else "int32", None)
    bits, is_inverted = loaded_samples(image)
    high = (1 << bits) - 1
    key = image.info.get("transparency")
    alpha = key_alpha(values, (key,)) if isinstance(key, int) else None
    return Samples(values.astype(np.uint16), f"{bits}-bit", (0, high), is_inverted=is_inverted, alpha=alpha)
