"""From a decoded picture to an upright one in 8-bit grey or RGB, in sRGB: the second reading rules.

samples -> 8 bits in sRGB -> without a blank alpha plane -> upright -> on white
"""

from PIL import Image

from vqgen.data.pictures.alpha import colours_of, has_alpha, on_white, without_blank_alpha
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.orientation import upright
from vqgen.data.pictures.profiles import deep_to_srgb, to_srgb
from vqgen.data.pictures.reading import Reading
from vqgen.data.pictures.samples import Samples, remapped, to_picture


def convert(decoded: Decoded, reading: Reading, *, keep_alpha: bool) -> Image.Image:
    """Converts a decoded picture.

    Args:
        decoded: The picture.
        reading: The ranges of samples.
        keep_alpha: Keeps the alpha plane of a picture with transparent pixels, and the colours beneath them.

    Returns:
        The picture in mode `L` or `RGB`, with `keep_alpha` also `LA` or `RGBA`. It may be the decoded object.

    Raises:
        DataError: The samples are not finite, or have no range.
    """
    picture = _of_samples(decoded, reading) if isinstance(decoded.pixels, Samples) else _of_8_bits(decoded, reading)
    picture = upright(without_blank_alpha(picture), decoded.orientation)
    return picture if keep_alpha else on_white(picture)


def _of_samples(decoded: Decoded, reading: Reading) -> Image.Image:
    samples = decoded.pixels
    assert isinstance(samples, Samples)
    in_srgb = deep_to_srgb(decoded.profile, samples.values.shape[-1])
    return to_picture(samples, reading) if in_srgb is None else to_picture(samples, reading, in_srgb)


def _of_8_bits(decoded: Decoded, reading: Reading) -> Image.Image:
    assert isinstance(decoded.pixels, Image.Image)
    picture = plain(decoded.pixels)
    if reading.value_range is not None and picture.mode != "CMYK" and decoded.is_of_file:
        picture = remapped(picture, reading.value_range)
    if decoded.profile is None and picture.mode != "CMYK":
        return picture
    converted = to_srgb(colours_of(picture), decoded.profile)
    if has_alpha(picture):
        converted.putalpha(picture.getchannel("A"))
    return converted


def plain(image: Image.Image) -> Image.Image:
    """Converts a picture of 8 bits to mode `L`, `RGB`, `LA`, `RGBA` or `CMYK`; the same object if it is in one."""
    # Pillow converts premultiplied alpha only to plain alpha.
    if image.mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("LA", "RGBA", "CMYK"):
        return image
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")
