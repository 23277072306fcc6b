"""The reading of image files: from many formats and modes to upright pictures in 8-bit grey or RGB."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

from vqgen.errors import DataError

# Listed, because Pillow would otherwise try formats that start other programs (EPS starts Ghostscript).
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

# Pillow before 11 opens 16-bit files of these formats in mode "I". In other formats that mode defines no range.
_FORMATS_WITH_16_BITS_IN_I = ("PNG", "PPM")

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def read_image(path: Path, *, keep_alpha: bool = False) -> Image.Image:
    """Decodes a whole image file.

    Args:
        path: A file in one of Pillow's raster formats. The first frame of an animation is read.
        keep_alpha: As in `normalize_mode`.

    Returns:
        The upright picture, in a mode that `normalize_mode` returns; the file is closed.

    Raises:
        DataError: The file is missing, truncated, not an image, too large to be safe, or of unknown range.
    """
    try:
        # An open file, not a path: from a path, Pillow 13 maps an uncompressed TIFF into memory and swaps its height
        # and width if its orientation turns it.
        with _silence.entered(), path.open("rb") as file, Image.open(file, formats=_known_formats()) as image:
            return normalize_mode(image, keep_alpha=keep_alpha)
    except Exception as error:  # damaged files make decoders raise almost anything
        cause = "its format is not known" if isinstance(error, Image.UnidentifiedImageError) else _cause(error)
        raise DataError(f"cannot read image {str(path)!r}: {cause}") from error


def normalize_mode(image: Image.Image, *, keep_alpha: bool = False) -> Image.Image:
    """Turns a picture upright and converts it to 8-bit grey or RGB.

    Grey stays grey (`L`); every other picture becomes `RGB`. Transparent pixels are laid on white. 16-bit values are
    scaled: round(x / 257). Modes `I` and `F` do not define their range. Floats in [0, 1] span black to white; other
    values up to 255 are taken as 8-bit, and values up to 65,535 as 16-bit. Larger values are refused.

    Args:
        image: Picture in any of Pillow's modes. It is not changed.
        keep_alpha: Keeps the alpha plane of a picture with transparent pixels, and the colours beneath them.

    Returns:
        The picture in mode `L` or `RGB`, with `keep_alpha` also `LA` or `RGBA`; the same object if it needs no change.

    Raises:
        DataError: The picture is empty or cannot be decoded, or its values are negative, not finite or above 65,535.
    """
    if 0 in image.size:
        raise DataError(f"an image should have at least one pixel, found {image.width} x {image.height}")
    try:
        image.load()  # before the orientation is read: loading a TIFF turns it upright
    except Exception as error:
        raise DataError(_cause(error)) from error
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _FORMATS_WITH_16_BITS_IN_I)
    image = _upright(image)
    if image.mode in ("I", "F") or sixteen_bits:
        return _to_8_bits(np.asarray(image), sixteen_bits)
    # Pillow converts premultiplied alpha only to plain alpha.
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        return image.convert("LA" if _is_grey(image) else "RGBA") if keep_alpha else _on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels may be sound although the metadata are damaged
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    # Without the orientation tag: a later reader would turn the picture again.
    turned.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return turned


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


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return flat.convert("RGB").convert("L") if _is_grey(image) else flat.convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA")


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


@cache
def _known_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


class _Silence:
    """A context without warnings, for any number of threads at a time.

    Pillow warns of odd metadata and large pictures in files that it reads well. `warnings.catch_warnings` alone is not
    safe in threads, because the filters belong to the process: of two threads that overlap, the first one out restores
    the filters while the second is still reading, and the second one out may leave its own "ignore" behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._filters = warnings.catch_warnings()

    @contextmanager
    def entered(self) -> Iterator[None]:
        # Only the first thread in saves the filters, and only the last one out restores them.
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
        try:
            yield
        finally:
            with self._lock:
                self._threads -= 1
                if self._threads == 0:
                    self._filters.__exit__(None, None, None)


_silence = _Silence()
