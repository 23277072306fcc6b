"""Image files to pictures in 8-bit grey or RGB, upright, whatever they were."""

import os
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

from vqgen.errors import DataError

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
# fmt: on
"""Endings of the files that are taken for images, in lower case."""

# Named, because Pillow would otherwise also try formats that start other programs (EPS starts Ghostscript).
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

# Pillow before 11 opens 16-bit files of these formats in mode "I", which elsewhere says nothing about the range.
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
        path: File of one of Pillow's raster formats; of an animation the first frame is read.
        keep_alpha: As in `normalize_mode`.

    Returns:
        The picture, upright, in a mode as `normalize_mode` gives; the file is closed.

    Raises:
        DataError: The file is missing, truncated, no image, too large to be safe, or of unknown range.
    """
    try:
        # An open file, not a path: Pillow 13 maps a path's uncompressed TIFF with height and width confused where its
        # orientation turns it.
        with _silence.entered(), path.open("rb") as file, Image.open(file, formats=_known_formats()) as image:
            return normalize_mode(image, keep_alpha=keep_alpha)
    except Exception as error:  # damaged files make decoders raise almost anything
        cause = "its format is not known" if isinstance(error, Image.UnidentifiedImageError) else _cause(error)
        raise DataError(f"cannot read image {str(path)!r}: {cause}") from error


def normalize_mode(image: Image.Image, *, keep_alpha: bool = False) -> Image.Image:
    """Turns a picture upright and to 8-bit grey or RGB.

    Grey stays grey (`L`), all else becomes `RGB`. Transparent pixels are laid on white. 16-bit values are scaled,
    round(x / 257). Modes `I` and `F` do not say their range: floats in [0, 1] span black to white; otherwise values up
    to 255 are taken as 8-bit, up to 65,535 as 16-bit, and others are refused.

    Args:
        image: Picture in any of Pillow's modes. It is not changed.
        keep_alpha: Keep the alpha plane of a picture with transparent pixels, and the colours beneath them.

    Returns:
        The picture in mode `L` or `RGB`, with `keep_alpha` also `LA` or `RGBA`; the same object where nothing was to be
        done.

    Raises:
        DataError: The picture is empty or cannot be decoded, or its values are negative, not finite or above 65,535.
    """
    if 0 in image.size:
        raise DataError(f"an image should have at least one pixel, found {image.width} x {image.height}")
    try:
        image.load()  # first of all: loading a TIFF turns it upright
    except Exception as error:
        raise DataError(_cause(error)) from error
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _FORMATS_WITH_16_BITS_IN_I)
    image = _upright(image)
    if image.mode in ("I", "F") or sixteen_bits:
        return _to_8_bits(np.asarray(image), sixteen_bits)
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        return image.convert("LA" if _is_grey(image) else "RGBA") if keep_alpha else _on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def find_images(root: Path) -> list[Path]:
    """Lists the image files below a folder, as `find_files` does: those that end in one of `IMAGE_SUFFIXES`."""
    return find_files(root, IMAGE_SUFFIXES)


def find_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Lists the files below a folder that have one of these endings, in capitals or not.

    Names that begin with a dot are passed over. Links are followed, but no folder is entered twice, nor any that `root`
    lies in. A link to a file that is gone is listed, so that reading it can say so.

    Args:
        root: The folder.
        suffixes: Endings in lower case, with their dot.

    Returns:
        Paths that begin with `root`, in the order of their relative paths.

    Raises:
        DataError: A folder cannot be listed.
    """
    here = Path(os.path.realpath(root))
    entered = {str(here), *map(str, here.parents)}
    return [root / name for name in sorted(_walk(str(root), "", suffixes, entered))]


def _walk(folder: str, prefix: str, suffixes: Collection[str], entered: set[str]) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list the folder {folder!r}: {_cause(error)}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            target = os.path.realpath(entry.path)
            if target not in entered:
                entered.add(target)
                yield from _walk(entry.path, f"{prefix}{entry.name}/", suffixes, entered)
        elif os.path.splitext(entry.name)[1].lower() in suffixes and (entry.is_file() or entry.is_symlink()):
            yield prefix + entry.name


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # metadata that cannot be read say nothing; the pixels may well be sound
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    # The tag must not travel along: it would turn the picture again.
    turned.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return turned


def _to_8_bits(values: np.ndarray, sixteen_bits: bool) -> Image.Image:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):  # also true of NaN
        raise DataError(f"values of an image should lie in [0, 65535], found [{low}, {high}]")
    if sixteen_bits or high > 255:
        # 257 is odd: no value lies halfway, so adding 128 and dividing downwards is rounding.
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
    """Silences warnings while any thread is inside.

    `warnings.catch_warnings` alone is not safe in threads: two that overlap restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._filters = warnings.catch_warnings()

    @contextmanager
    def entered(self) -> Iterator[None]:
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
