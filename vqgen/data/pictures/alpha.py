"""Transparency: keys, planes that nobody meant, and the white below transparent pixels."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqgen.data.pictures.samples import row_blocks


def has_alpha(picture: Image.Image) -> bool:
    """Returns True for the modes `LA` and `RGBA`."""
    return picture.mode in ("LA", "RGBA")


def without_blank_alpha(picture: Image.Image) -> Image.Image:
    """Returns a picture without its alpha plane, if that is zero everywhere.

    Nobody makes a picture that cannot be seen: its writer left the bytes of the plane empty.
    """
    is_blank = has_alpha(picture) and picture.getchannel("A").getbbox() is None
    return colours_of(picture) if is_blank else picture


def colours_of(picture: Image.Image) -> Image.Image:
    """Returns the colours of a picture, without its alpha plane, as they are."""
    return picture.convert(picture.mode[:-1]) if has_alpha(picture) else picture


def on_white(picture: Image.Image) -> Image.Image:
    """Lays a picture of mode `LA` or `RGBA` on white; returns any other one as it is."""
    if not has_alpha(picture):
        return picture
    flat = Image.new(picture.mode[:-1], picture.size)
    # A part at a time: the white and the copies of a large picture would take more memory than the picture.
    for rows in row_blocks(picture.height, picture.width):
        part = picture.crop((0, rows.start, picture.width, rows.stop)).convert("RGBA")
        white = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB")
        flat.paste(white.convert(flat.mode), (0, rows.start))
    return flat


def key_alpha(values: NDArray, key: tuple[int, ...]) -> NDArray[np.uint8]:
    """Returns an alpha plane that is 0 at the pixels of the transparent colour, and 255 at all others.

    Args:
        values: `(h, w, c)` samples, in the units of the key.
        key: One value for each channel.
    """
    height, width, channels = values.shape
    alpha = np.empty((height, width), np.uint8)
    for rows in row_blocks(height, width * channels):
        alpha[rows] = np.where((values[rows] == np.array(key)).all(axis=-1), 0, 255)
    return alpha
