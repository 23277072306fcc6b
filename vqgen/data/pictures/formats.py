"""Formats of pictures: their names by their first bytes, the extras that read them, and the decoders of Pillow."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import BufferedIOBase
from typing import IO, cast

from PIL import Image, ImageFile

from vqgen.errors import DataError

# Listed, because Pillow would otherwise try formats that start other programs (EPS starts Ghostscript).
_PILLOW_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

HEAD_BYTES = 512
"""First bytes of a file that tell its format."""


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: Its name in messages.
        suffixes: Usual endings of its files, in lower case.
        remedy: The way to read it; "" for a format that vqgen reads, or that has no pictures.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    remedy: str = ""


_CONVERT = "convert it to PNG or TIFF"
_HEIF = Format("HEIC", (".heic", ".heif", ".hif", ".heics", ".heifs"), "pip install 'vqgen[heif]' reads it")
_JXL = Format("JPEG XL", (".jxl",), "pip install 'vqgen[jxl]' reads it")
_AVIF = Format("AVIF", (".avif", ".avifs"), "pip install 'pillow>=11.3' reads it")

_BRANDS = {
    _HEIF: ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "mif2", "msf1", "miaf"),
    _AVIF: ("avif", "avis"),
    Format("Canon raw (CR3)", (".cr3",), _CONVERT): ("crx ",),
    Format("JPEG 2000", (".jp2", ".jpx")): ("jp2 ", "jpx "),
    Format("a film (MP4 or QuickTime)", (".mp4", ".mov", ".m4v"), "extract its frames"): (
        "isom", "iso2", "mp41", "mp42", "qt  ", "M4V ", "avc1",
    ),
}  # fmt: skip
"""Format -> the brands in the first box of an ISO media file."""

_MAGIC: tuple[tuple[bytes, int, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, Format("PNG", (".png",))),
    (b"\xff\xd8\xff\xf7", 0, Format("JPEG-LS", (".jls",), _CONVERT)),
    (b"\xff\xd8\xff", 0, Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"))),
    (b"GIF8", 0, Format("GIF", (".gif",))),
    (b"BM", 0, Format("BMP", (".bmp", ".dib"))),
    (b"II*\0\x10\0\0\0CR", 0, Format("Canon raw (CR2)", (".cr2",), _CONVERT)),
    (b"II*\0", 0, Format("TIFF", (".tif", ".tiff"))),
    (b"MM\0*", 0, Format("TIFF", (".tif", ".tiff"))),
    (b"II+\0", 0, Format("BigTIFF", (".tif", ".tiff"))),
    (b"MM\0+", 0, Format("BigTIFF", (".tif", ".tiff"))),
    (b"IIRO", 0, Format("Olympus raw (ORF)", (".orf",), _CONVERT)),
    (b"IIU\0", 0, Format("Panasonic raw (RW2)", (".rw2",), _CONVERT)),
    (b"FUJIFILMCCD-RAW", 0, Format("Fujifilm raw (RAF)", (".raf",), _CONVERT)),
    (b"II\xbc\x01", 0, Format("JPEG XR", (".jxr", ".wdp"), _CONVERT)),
    (b"WEBP", 8, Format("WebP", (".webp",))),
    (b"\xff\x0a", 0, _JXL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", 0, _JXL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", 0, Format("JPEG 2000", (".jp2", ".jpx"))),
    (b"\xff\x4f\xff\x51", 0, Format("JPEG 2000", (".j2k", ".j2c", ".jpc"))),
    (b"8BPS", 0, Format("Photoshop (PSD)", (".psd", ".psb"), _CONVERT)),
    (b"gimp xcf", 0, Format("GIMP (XCF)", (".xcf",), _CONVERT)),
    (b"\x76\x2f\x31\x01", 0, Format("OpenEXR", (".exr",), _CONVERT)),
    (b"#?RADIANCE", 0, Format("Radiance HDR", (".hdr",), _CONVERT)),
    (b"DICM", 128, Format("DICOM", (".dcm", ".dicom"), _CONVERT)),
    (b"SIMPLE  =", 0, Format("FITS", (".fits", ".fit"), _CONVERT)),
    (b"\x5c\x01\0\0", 0, Format("NIfTI", (".nii",), _CONVERT)),
    (b"qoif", 0, Format("QOI", (".qoi",), _CONVERT)),
    (b"BPG\xfb", 0, Format("BPG", (".bpg",), _CONVERT)),
    (b"FLIF", 0, Format("FLIF", (".flif",), _CONVERT)),
    (b"DDS ", 0, Format("DDS", (".dds",), _CONVERT)),
    (b"\0\0\x01\0", 0, Format("an icon (ICO)", (".ico",), _CONVERT)),
    (b"\0\0\x02\0", 0, Format("a cursor (CUR)", (".cur",), _CONVERT)),
    (b"icns", 0, Format("icons (ICNS)", (".icns",), _CONVERT)),
    (b"\x8aMNG\r\n\x1a\n", 0, Format("MNG", (".mng",), _CONVERT)),
    (b"\x0a\x05\x01", 0, Format("PCX", (".pcx",), _CONVERT)),
    (b"%!PS", 0, Format("PostScript (EPS)", (".eps", ".ps"), _CONVERT)),
    (b"%PDF", 0, Format("PDF", (".pdf",), _CONVERT)),
    (b"\xd7\xcd\xc6\x9a", 0, Format("WMF", (".wmf",), _CONVERT)),
    (b"\x89HDF\r\n\x1a\n", 0, Format("HDF5", (".h5", ".hdf5"))),
    (b"\x93NUMPY", 0, Format("NumPy", (".npy",))),
    (b"PK\x03\x04", 0, Format("a ZIP archive", (".zip",), "unpack it")),
    (b"\x1f\x8b", 0, Format("gzip", (".gz",), "unpack it")),
    (b"version https://git-lfs", 0, Format("a pointer of Git LFS", (), "git lfs pull fetches the file")),
)  # fmt: skip
"""First bytes, their offset, and the format."""

_TEXTS = {
    b"<!doctype html": Format("an HTML page", (), "it may be the error page of a download"),
    b"<html": Format("an HTML page", (), "it may be the error page of a download"),
    b"<svg": Format("SVG", (".svg",), _CONVERT),
}
"""First words of a text, in lower case -> format."""


def recognize(head: bytes) -> Format | None:
    """Returns the format of a file by its first bytes, whatever its name is; None for an unknown one."""
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, int.from_bytes(head[:4], "big"), 4))]
        # The major brand comes first; a file that only says "an image" is told by its other brands.
        order = sorted(brands, key=lambda brand: brand in (b"mif1", b"mif2", b"msf1", b"miaf"))
        return next((f for brand in order for f, names in _BRANDS.items() if brand.decode("latin-1") in names), None)
    for magic, offset, found in _MAGIC:
        if head[offset : offset + len(magic)] == magic and (magic != b"WEBP" or head[:4] == b"RIFF"):
            return found
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"1234567fF" and head[2:3] in b" \t\r\n#":
        return Format("PNM", (".pnm", ".pbm", ".pgm", ".ppm", ".pam", ".pfm"))
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml") and b"<svg" in text:
        return _TEXTS[b"<svg"]
    return next((found for start, found in _TEXTS.items() if text.startswith(start)), None)


def unread_suffixes() -> dict[str, Format]:
    """Returns the endings of picture files that this installation does not read: ending -> format."""
    known = [*(found for _, _, found in _MAGIC), *_BRANDS, *_TEXTS.values()]
    return {suffix: found for found in known if found.remedy and not is_read(found) for suffix in found.suffixes}


def is_read(found: Format) -> bool:
    """Returns True if this installation reads files of a format."""
    if found in (_HEIF, _JXL):
        return _plugin(found) is not None
    if found == _AVIF:
        return "AVIF" in _known_formats()
    return not found.remedy


def open_with_pillow(file: BufferedIOBase) -> ImageFile.ImageFile:
    """Opens a picture with Pillow, or with the plugin of its format.

    Raises:
        DataError: The format is known, but nothing here reads it.
        Exception: Whatever a decoder raises.
    """
    file.seek(0)
    found = recognize(file.read(HEAD_BYTES))
    file.seek(0)
    if found is not None and (plugin := _plugin(found)) is not None:
        return plugin(file)
    try:
        return cast(ImageFile.ImageFile, Image.open(cast(IO[bytes], file), formats=_known_formats()))
    except Image.UnidentifiedImageError as error:
        raise DataError(_unread(found)) from error


def _unread(found: Format | None) -> str:
    if found is None:
        return "its format is not known"
    if found.remedy:
        return f"its format is {found.name}, which is not read here; {found.remedy}"
    return f"its format is {found.name}, but it is damaged or of a kind that is not read"


@cache
def _plugin(found: Format) -> Callable[[BufferedIOBase], ImageFile.ImageFile] | None:
    """Returns the class of a plugin that is installed; None for any other format."""
    # The classes are called by hand: to register them with Pillow would change it for the whole program.
    places = {_HEIF: ("pillow_heif", "HeifImageFile"), _JXL: ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile")}
    if found not in places:
        return None
    module, name = places[found]
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


@cache
def _known_formats() -> list[str]:
    Image.init()
    return [name for name in _PILLOW_FORMATS if name in Image.OPEN]


def check_pixels(width: int, height: int) -> None:
    """Refuses as many pixels as Pillow does, so that a small file cannot fill the memory.

    Raises:
        DataError: There are too many, or none.
    """
    if width < 1 or height < 1:
        raise DataError(f"an image should have at least one pixel, found {width} x {height}")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > 2 * most:
        raise DataError(f"{width} x {height} pixels exceed the limit of {2 * most}: it could be a decompression bomb")


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


silence = _Silence()
