import io
import threading
import warnings

import pytest
from PIL import Image, ImageFile

from vqgen.data.pictures import formats
from vqgen.data.pictures.formats import check_pixels, is_read, open_with_pillow, recognize, silence, unread_suffixes
from vqgen.errors import DataError

HEADS = {
    b"\x89PNG\r\n\x1a\n....": "PNG",
    b"\xff\xd8\xff\xe0": "JPEG",
    b"\xff\xd8\xff\xf7": "JPEG-LS",
    b"II*\0\x08\0\0\0": "TIFF",
    b"MM\0*\0\0\0\x08": "TIFF",
    b"MM\0+\0\x08\0\0": "BigTIFF",
    b"II*\0\x10\0\0\0CR\2\0": "Canon raw (CR2)",
    b"BM....": "BMP",
    b"RIFF....WEBPVP8 ": "WebP",
    b"RIFF....AVI LIST": None,
    b"P5 3 4\n255\n": "PNM",
    b"P7\nWIDTH 3": "PNM",
    b"Pf\n3 4": "PNM",
    b"Python": None,
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIC",
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif": "AVIF",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf": "HEIC",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "a film (MP4 or QuickTime)",
    b"\0\0\0\x14ftypzzzz\0\0\0\0zzzz": None,
    b"\xff\x0a\x00": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"8BPS\0\1": "Photoshop (PSD)",
    b"\0" * 128 + b"DICM": "DICOM",
    b"\xef\xbb\xbf  <!DOCTYPE html><html>": "an HTML page",
    b"<?xml version='1.0'?><svg xmlns=": "SVG",
    b"%!PS-Adobe": "PostScript (EPS)",
    b"hello": None,
    b"": None,
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_format_is_told_by_the_first_bytes(head):
    found = recognize(head)
    assert (found.name if found else None) == HEADS[head]


def test_file_of_another_format_than_its_name_is_opened():
    file = io.BytesIO()
    Image.new("L", (3, 2), 7).save(file, "PNG")
    with open_with_pillow(file) as image:
        assert (image.format, image.size) == ("PNG", (3, 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"8BPS\0\1", r"its format is Photoshop \(PSD\), which is not read here; convert it to PNG or TIFF"),
        (b"\x89PNG\r\n\x1a\nxx", "its format is PNG, but it is damaged or of a kind that is not read"),
        (b"<html>", "its format is an HTML page, .* error page of a download"),
        (b"hello", "its format is not known"),
        (b"", "its format is not known"),
    ],
)
def test_file_that_is_not_read_is_named_by_its_content(data, message):
    with pytest.raises(DataError, match=message):
        open_with_pillow(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "module", "extra"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow_heif", r"its format is HEIC, .*vqgen\[heif\]"),
        (b"\xff\x0a\x00", "pillow_jxl.JpegXLImagePlugin", r"its format is JPEG XL, .*vqgen\[jxl\]"),
    ],
)
def test_missing_extra_is_named_and_an_installed_one_is_used(monkeypatch, data, module, extra):
    class Plugin(ImageFile.ImageFile):
        def _open(self):
            self._size, self._mode, self.tile = (2, 3), "L", []

    found = recognize(data)
    assert found is not None
    name = {"pillow_heif": "HeifImageFile"}.get(module, "JXLImageFile")
    monkeypatch.setattr(formats, "import_module", lambda asked: (_ for _ in ()).throw(ImportError(asked)))
    formats._plugin.cache_clear()
    with pytest.raises(DataError, match=extra):
        open_with_pillow(io.BytesIO(data))
    assert set(found.suffixes) <= unread_suffixes().keys()
    stand_in = type("Module", (), {name: Plugin})
    monkeypatch.setattr(formats, "import_module", lambda asked: stand_in if asked == module else None)
    formats._plugin.cache_clear()
    assert isinstance(open_with_pillow(io.BytesIO(data)), Plugin)
    assert is_read(found)
    assert not set(found.suffixes) & unread_suffixes().keys()
    formats._plugin.cache_clear()


def test_formats_that_are_read_are_not_among_the_unread():
    assert not {".png", ".jpg", ".tif", ".webp", ".pgm", ".bmp"} & unread_suffixes().keys()
    assert {".psd", ".cr2", ".exr", ".dcm"} <= unread_suffixes().keys()


def test_pixels_are_limited_as_pillow_limits_them(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    check_pixels(10, 10)
    with pytest.raises(DataError, match="101 x 1 pixels exceed the limit of 100: it could be a decompression bomb"):
        check_pixels(101, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    check_pixels(10_000, 10_000)
    with pytest.raises(DataError, match="at least one pixel, found 0 x 3"):
        check_pixels(0, 3)


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)

    def act():
        for _ in range(50):
            with silence.entered():
                warnings.warn("odd metadata", stacklevel=1)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
