"""The reading of image files: from many formats and modes to upright pictures in 8-bit grey or RGB."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from vqgen.data.pictures import Reading
from vqgen.data.pictures.alpha import on_white
from vqgen.data.pictures.conversion import convert, plain
from vqgen.data.pictures.decoding import decode_file, decode_picture
from vqgen.data.pictures.extents import Extent, extent_of
from vqgen.data.pictures.first_rules import normalize_by_first_rules, read_by_first_rules
from vqgen.data.pictures.formats import silence
from vqgen.data.watching import open_watched, read_error, system_cause
from vqgen.errors import DataError

_READ = "vqgen: read"
"""Key in the `info` of pictures that are read already: no rule is applied to them twice."""


def read_image(path: Path, *, keep_alpha: bool = False, reading: Reading | None = None) -> Image.Image:
    """Decodes a whole image file, by its content, whatever its name is.

    Args:
        path: A file in one of the formats of `docs/pictures.md`. The first frame of an animation is read.
        keep_alpha: As in `normalize_mode`.
        reading: As in `normalize_mode`.

    Returns:
        The upright picture, in a mode that `normalize_mode` returns; the file is closed.

    Raises:
        DataError: The file is missing, truncated, not an image, too large to be safe, or of unknown range.
        ReadError: The system failed to read it, or has too little memory.
    """
    reading = reading or Reading()
    # An open file, not a path: from a path, Pillow 13 maps an uncompressed TIFF into memory and swaps its height and
    # width if its orientation turns it.
    with _named(path), open_watched(path) as file:
        if reading.rules == 1:
            return mark_read(read_by_first_rules(file, keep_alpha=keep_alpha))
        return mark_read(convert(decode_file(file), reading, keep_alpha=keep_alpha))


def measure_image(path: Path) -> Extent:
    """Decodes a whole image file, and measures its samples in the units of the file.

    Raises:
        DataError: As `read_image`, except that samples without a range are accepted.
    """
    with _named(path), open_watched(path) as file:
        return extent_of(decode_file(file))


def normalize_mode(image: Image.Image, *, keep_alpha: bool = False, reading: Reading | None = None) -> Image.Image:
    """Turns a picture upright and converts it to 8-bit grey or RGB, in sRGB.

    Grey stays grey (`L`); every other picture becomes `RGB`. Transparent pixels are laid on white. 16-bit values are
    scaled: round(x / 257). Modes `I` and `F` have no range of their own: `reading` gives it.

    Args:
        image: Picture in any of Pillow's modes. It is not changed. A picture of `read_image` stays as it was read.
        keep_alpha: Keeps the alpha plane of a picture with transparent pixels, and the colours beneath them.
        reading: The rules; None for the newest ones, without ranges.

    Returns:
        The picture in mode `L` or `RGB`, with `keep_alpha` also `LA` or `RGBA`; the same object if it needs no change.

    Raises:
        DataError: The picture is empty or cannot be decoded, or its values are not finite or of unknown range.
        ReadError: As in `read_image`; the file of a picture may not have been read yet.
    """
    reading = reading or Reading()
    if 0 in image.size:
        raise DataError(f"an image should have at least one pixel, found {image.width} x {image.height}")
    try:
        if image.info.get(_READ):
            picture = plain(image)
            return picture if keep_alpha else on_white(picture)
        if reading.rules == 1:
            found = normalize_by_first_rules(image, keep_alpha=keep_alpha)
            # A copy, because the mark must not appear on the picture of the caller.
            return mark_read(found.copy() if found is image and image.info else found)
        found = convert(decode_picture(image), reading, keep_alpha=keep_alpha)
        return found if found is image else mark_read(found)
    except Exception as error:  # damaged files make decoders raise almost anything
        if (cause := system_cause(error)) is not None:
            raise read_error("cannot read the image", cause) from error
        if isinstance(error, DataError):
            raise
        raise DataError(_cause(error)) from error


def mark_read(picture: Image.Image) -> Image.Image:
    """Marks a picture as read, in place, and returns it: `normalize_mode` then leaves its colours as they are."""
    # Without the metadata, too: a later reader would convert the colours, or turn the picture, again.
    picture.info = {_READ: True}
    return picture


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Names the file in every error, and keeps errors of the system apart from damaged pictures."""
    try:
        with silence.entered():
            yield
    except Exception as error:  # damaged files make decoders raise almost anything
        if (cause := system_cause(error)) is not None:
            raise read_error(f"cannot read image {str(path)!r}", cause) from error
        raise DataError(f"cannot read image {str(path)!r}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
