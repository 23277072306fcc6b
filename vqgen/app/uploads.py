"""Uploaded files: bytes and pixels are limited before anything is decoded, and every refusal is one plain sentence.

A file comes from a stranger. Its name is text, and it is never a path, HTML or Markdown.
"""

import html
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vqgen.app.context import Limits
from vqgen.codec.archive_layout import MAGIC as ARCHIVE_MAGIC
from vqgen.codec.header import MAGIC as IMAGE_MAGIC
from vqgen.data import Reading
from vqgen.data.pictures.formats import HEAD_BYTES, recognize, silence
from vqgen.data.pictures.sizes import has_more_frames, size_of_file
from vqgen.data.reading import read_image
from vqgen.data.watching import read_error, system_cause
from vqgen.errors import DataError, ReadError
from vqgen.storage.names import shown

_LONGEST_NAME = 60
"""Signs of a file's name that a sentence shows, at most."""


@dataclass(frozen=True)
class Upload:
    """An uploaded picture.

    Attributes:
        picture: The picture, upright, in mode `L` or `RGB`.
        name: The name of its file, as text.
        notes: Sentences for the user about parts of the file that are not used.
    """

    picture: Image.Image
    name: str
    notes: tuple[str, ...] = ()


def read_upload(path: str | Path | None, limits: Limits, reading: Reading | None = None) -> Upload:
    """Reads an uploaded picture, by its content, whatever its name is.

    Args:
        path: The file on the server; None if nothing was uploaded.
        limits: The most bytes and pixels.
        reading: The reading rules of the model; None for the newest ones.

    Raises:
        DataError: There is no file, it is empty, too large, damaged, no picture, or of a format that is not read.
        ReadError: The system failed to read it.
    """
    file = check_upload(path, limits)
    name = upload_name(file)
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if is_compressed(file):
        raise DataError(f"{name}: this is a compressed file of vqgen, and a picture is needed; open it under Compress")
    try:
        with silence.entered(), file.open("rb") as opened:
            width, height = size_of_file(opened)
    except Exception as error:  # damaged files make decoders raise almost anything
        raise _refusal(name, head, error) from error
    if width * height > limits.pixels:
        raise DataError(
            f"{name}: should have at most {limits.pixels:,} pixels, found {width} x {height}; scale or crop it"
        )
    try:
        picture = read_image(file, reading=reading)
    except ReadError:
        raise
    except DataError as error:
        raise _refusal(name, head, error, path=file) from error
    return Upload(picture, name, _notes(file, head))


def read_compressed(path: str | Path | None, limits: Limits) -> bytes:
    """Reads an uploaded `.vqg` file; its content is checked when it is decoded.

    Raises:
        DataError: There is no file, or it is empty, too large, or of another kind.
    """
    file = check_upload(path, limits)
    data = file.read_bytes()
    if data.startswith(ARCHIVE_MAGIC):
        raise DataError(f"{upload_name(file)}: this is an archive; `vqgen decompress` takes its images out")
    if not data.startswith(IMAGE_MAGIC):
        raise DataError(f"{upload_name(file)}: this is not a compressed image of vqgen (.vqg)")
    return data


def is_compressed(path: Path) -> bool:
    """Returns True for a file of vqgen, an image or an archive, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(IMAGE_MAGIC)) in (IMAGE_MAGIC, ARCHIVE_MAGIC)


def check_upload(path: str | Path | None, limits: Limits) -> Path:
    """Returns the path of an upload that is there, has content, and is not too long.

    Raises:
        DataError: It is not.
    """
    if path is None or not str(path):
        raise DataError("file: should be a picture, found none; drop one, or choose one with the button")
    file = Path(path)
    if not file.is_file():
        raise DataError("file: the upload is gone; choose the file again")
    size = file.stat().st_size
    if size == 0:
        raise DataError(f"{upload_name(file)}: the file is empty")
    if size > limits.upload_bytes:
        raise DataError(
            f"{upload_name(file)}: should have at most {limits.upload_bytes / 1e6:.3g} MB, found {size / 1e6:.3g} MB"
        )
    return file


def upload_name(path: Path) -> str:
    """Returns the name of an uploaded file as text: without its folder, with escapes, and not too long."""
    name = shown(path.name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"


def escape(text: str) -> str:
    """Returns a text from outside for a page: nothing in it is HTML, and signs that are not printed are escapes."""
    return html.escape(shown(text), quote=True)


def _refusal(name: str, head: bytes, error: Exception, path: Path | None = None) -> DataError:
    """Builds the sentence about a file that cannot be read, without the path on the server."""
    if (cause := system_cause(error)) is not None:
        return read_error(f"{name}: the server could not read it", cause)
    text = str(error) or type(error).__name__
    if path is not None:
        text = text.removeprefix(f"cannot read image {str(path)!r}: ")
    if recognize(head) is None:
        kind = "it is a text" if _is_text(head) else "its format is not known"
        return DataError(f"{name}: this is not a picture: {kind}; choose a PNG, JPEG, WebP, TIFF or GIF")
    return DataError(f"{name}: cannot be read: {text}")


def _is_text(head: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        # The last signs may be cut in the middle.
        return all(sign.isprintable() or sign.isspace() for sign in head[: HEAD_BYTES - 4].decode())
    return False


def _notes(path: Path, head: bytes) -> tuple[str, ...]:
    found = recognize(head)
    notes = []
    if found is None:
        return ()
    if found.suffixes and path.suffix.lower() not in found.suffixes:
        notes.append(f"The file is {found.name}, whatever its name says.")
    with suppress(Exception), silence.entered(), path.open("rb") as file:  # the picture itself has been read
        # A photograph of a phone has further pictures for its own use, which nobody misses.
        if found.name != "JPEG" and has_more_frames(file):
            notes.append("The file has several frames or pages; the first one is taken.")
    return tuple(notes)
