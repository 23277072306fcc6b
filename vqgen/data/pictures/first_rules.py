"""The first reading rules, for models that were trained under them. They are not to be changed.

They take Pillow's samples as they are, ignore colour profiles, and guess the range of signed and float samples from the
values of each picture.
"""

from io import BufferedIOBase

import numpy as np
from PIL import Image

from vqgen.data.pictures.formats import open_with_pillow, recognize
from vqgen.data.pictures.orientation import orientation_of, upright
from vqgen.data.pictures.png import read_chunks
from vqgen.errors import DataError

# Pillow before 11 opens 16-bit files of these formats in mode "I". In other formats that mode defines no range.
_FORMATS_WITH_16_BITS_IN_I = ("PNG", "PPM")


def read_by_first_rules(file: BufferedIOBase, *, keep_alpha: bool) -> Image.Image:
    """Decodes a file; see `normalize_by_first_rules`.

    Raises:
        DataError: Its format is not read here, or its values are of unknown range.
        Exception: Whatever Pillow raises.
    """
    found = recognize(file.read(16))
    # Without the metadata that could keep Pillow from sound pixels: those pictures were refused before.
    source = read_chunks(file).file() if found is not None and found.name == "PNG" else file
    with open_with_pillow(source) as image:
        return normalize_by_first_rules(image, keep_alpha=keep_alpha)


def normalize_by_first_rules(image: Image.Image, *, keep_alpha: bool) -> Image.Image:
    """Turns a picture upright and converts it to 8-bit grey or RGB.

    16-bit values are scaled: round(x / 257). Floats in [0, 1] span black to white; other values up to 255 are taken as
    8-bit, and values up to 65,535 as 16-bit. Larger values are refused.

    Raises:
        DataError: The values are negative, not finite or above 65,535.
    """
    image.load()  # before the orientation is read: loading a TIFF turns it upright
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _FORMATS_WITH_16_BITS_IN_I)
    turned = upright(image, orientation_of(image))
    if image.mode in ("I", "F") or sixteen_bits:
        return _to_8_bits(np.asarray(turned), sixteen_bits)
    # Pillow converts premultiplied alpha only to plain alpha.
    if turned.mode in ("La", "RGBa"):
        turned = turned.convert({"La": "LA", "RGBa": "RGBA"}[turned.mode])
    if turned.has_transparency_data:
        return turned.convert("LA" if _is_grey(turned) else "RGBA") if keep_alpha else _on_white(turned)
    if turned.mode in ("L", "RGB"):
        return turned
    return turned.convert("L" if turned.mode == "1" else "RGB")


def _to_8_bits(values: np.ndarray, sixteen_bits: bool) -> Image.Image:
    low = values.min()
    high = values.max()
    if not (low >= 0 and high <= 65535):  # NaN fails both comparisons
        raise DataError(
            f"values of an image should lie in [0, 65535], found [{low}, {high}]; scale them to 8 or 16 bits"
        )
    if sixteen_bits or high > 255:
        # 257 is odd, so no value lies halfway: adding 128 and dividing downwards rounds to the nearest.
        values = (np.rint(values).astype(np.uint32) + 128) // 257
    elif values.dtype.kind == "f":
        values = np.rint(values * 255 if high <= 1 else values)
    return Image.fromarray(values.astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return flat.convert("RGB").convert("L") if _is_grey(picture) else flat.convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA")
