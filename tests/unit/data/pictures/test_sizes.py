import io

import numpy as np
import pytest
from picture_files import netpbm, tiff
from PIL import Image

from vqgen.data.pictures.sizes import has_more_frames, size_of_file
from vqgen.errors import DataError

VALUES = np.zeros((5, 7, 1), np.uint16)


def saved(name, mode="L", **options):
    file = io.BytesIO()
    Image.new(mode, (7, 5)).save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_size_comes_from_the_header(name):
    assert size_of_file(io.BytesIO(saved(name, "RGB" if name == "WEBP" else "L"))) == (7, 5)


@pytest.mark.parametrize("data", [netpbm(VALUES, "P5", 255), netpbm(VALUES, "P7", 1000), tiff(VALUES, 12)])
def test_size_of_kinds_that_pillow_does_not_open_comes_from_the_header(data):
    assert size_of_file(io.BytesIO(data)) == (7, 5)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_size_is_known_without_any_pixel(name):
    whole = saved(name)
    # A TIFF of Pillow has its directory before its pixels.
    head = whole[:40] if name != "TIFF" else whole[:-35]
    assert size_of_file(io.BytesIO(head)) == (7, 5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n", "begin with its header"),
        (b"P5 3", "header of the PNM is damaged"),
        (b"II*\0\x08\0\0\0\0\0\0\0", "width and the height"),
        (b"%PDF-1.4", "its format is PDF"),
        (b"hello", "its format is not known"),
    ],
)
def test_damaged_headers_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        size_of_file(io.BytesIO(data))


def test_animation_has_more_frames_and_a_still_picture_has_not():
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 128)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert has_more_frames(file)
    assert not has_more_frames(io.BytesIO(saved("GIF")))
