import io

import numpy as np
import pytest
from picture_files import tiff
from PIL import Image

from vqgen.app.context import Limits
from vqgen.app.uploads import check_upload, escape, is_compressed, read_compressed, read_upload, upload_name
from vqgen.errors import DataError

LIMITS = Limits(upload_bytes=20_000, pixels=10_000)


@pytest.fixture
def put(tmp_path):
    def put(data, name="picture.png"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return put


def saved(image, name="PNG", **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def noise(mode, side=16):
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    return Image.frombytes(mode, (side, side), values.tobytes())


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "PNG"), ("RGB", "PNG"), ("CMYK", "JPEG"), ("LA", "PNG"), ("P", "PNG")]
)
def test_pictures_of_any_mode_become_grey_or_rgb(put, mode, name):
    upload = read_upload(put(saved(noise(mode), name), f"a.{name.lower()}"), LIMITS)
    assert upload.picture.mode == ("L" if mode in ("L", "LA") else "RGB")
    assert upload.picture.size == (16, 16)
    assert upload.notes == ()


def test_16_bits_are_scaled(put):
    values = np.full((4, 4, 1), 65535, np.uint16)
    assert read_upload(put(tiff(values, 16), "a.tif"), LIMITS).picture.getextrema() == (255, 255)


def test_first_frame_of_an_animation_is_taken_with_a_note(put):
    frames = [Image.new("L", (8, 8), shade) for shade in (7, 128)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    upload = read_upload(put(data, "a.gif"), LIMITS)
    assert upload.picture.getpixel((0, 0)) == (7, 7, 7)
    assert "first one is taken" in upload.notes[0]


def test_wrong_ending_is_a_note(put):
    upload = read_upload(put(saved(noise("L"), "JPEG"), "a.png"), LIMITS)
    assert upload.notes == ("The file is JPEG, whatever its name says.",)


def test_too_many_pixels_are_refused_before_they_are_decoded(put, monkeypatch):
    monkeypatch.setattr("vqgen.app.uploads.read_image", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="should have at most 10,000 pixels, found 200 x 100; scale or crop it"):
        read_upload(put(saved(Image.new("L", (200, 100)))), LIMITS)


def test_too_many_bytes_are_refused_before_they_are_read(put):
    with pytest.raises(DataError, match=r"should have at most 0\.02 MB, found 0\.03 MB"):
        read_upload(put(bytes(30_000)), LIMITS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"Dear all,\nthis is a letter\n", "this is not a picture: it is a text; choose a PNG"),
        (bytes(range(256)), "this is not a picture: its format is not known"),
        (b"<!doctype html><script>alert(1)</script>", "its format is an HTML page, which is not read here"),
        (b"%PDF-1.7", "its format is PDF, which is not read here; convert it to PNG or TIFF"),
        (saved(noise("L"))[:100], "cannot be read: .*truncated|cannot be read: .*cut"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read: the PNG should begin with its header"),
        (b"\x89VQG....", "this is a compressed file of vqgen, and a picture is needed"),
    ],
)
def test_refusals_are_sentences_with_the_name_and_without_the_path(put, data, message, tmp_path):
    with pytest.raises(DataError, match=f"a<b>.png: .*({message})") as found:
        read_upload(put(data, "a<b>.png"), LIMITS)
    assert str(tmp_path) not in str(found.value)


@pytest.mark.parametrize("path", [None, ""])
def test_nothing_uploaded_is_refused(path):
    with pytest.raises(DataError, match="should be a picture, found none"):
        read_upload(path, LIMITS)


def test_upload_that_is_gone_is_refused(tmp_path):
    with pytest.raises(DataError, match="the upload is gone"):
        check_upload(tmp_path / "gone.png", LIMITS)


def test_compressed_files_are_told_by_their_first_bytes(put):
    assert read_compressed(put(b"\x89VQG123", "a.png"), LIMITS) == b"\x89VQG123"
    assert is_compressed(put(b"\x89VQA", "a.vqga"))
    assert not is_compressed(put(b"\x89PNG", "a.vqg"))
    with pytest.raises(DataError, match="this is an archive; `vqgen decompress`"):
        read_compressed(put(b"\x89VQA123", "a.vqg"), LIMITS)
    with pytest.raises(DataError, match="this is not a compressed image"):
        read_compressed(put(b"hello", "a.vqg"), LIMITS)


def test_names_are_text(tmp_path):
    assert escape('<img src=x onerror="alert(1)">\x1b[2J') == ("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;\\x1b[2J")
    long = upload_name(tmp_path / ("x" * 200 + ".png"))
    assert len(long) == 61
    assert long.endswith(".png")
