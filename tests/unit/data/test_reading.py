from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from vqgen.data import normalize_mode, read_image
from vqgen.errors import DataError

# Distinct values, no symmetry: any turn or mirror shows.
GREY = np.array([[0, 50, 100], [150, 200, 255]], dtype=np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == ("L" if np.asarray(image).ndim == 2 else "RGB")
    return np.asarray(image)


def test_grey_and_rgb_come_back_as_they_are(tmp_path: Path) -> None:
    assert (pixels(save(Image.fromarray(GREY), tmp_path / "a.png")) == GREY).all()
    assert (pixels(save(Image.fromarray(COLOUR), tmp_path / "b.png")) == COLOUR).all()


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    assert (pixels(save(Image.fromarray(GREY > 120), tmp_path / "a.png")) == np.where(GREY > 120, 255, 0)).all()


def test_colours_come_from_the_palette(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(6)
    assert image.mode == "P"
    assert np.abs(pixels(save(image, tmp_path / "a.png")).astype(int) - COLOUR).max() <= 2


def test_transparent_colour_of_a_palette_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    for name in ("a.gif", "a.png"):
        found = pixels(save(image, tmp_path / name, transparency=0))
        assert found.tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_partial_transparency_of_a_palette_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 40, 50, 60])
    image.putdata([0, 1])
    found = pixels(save(image, tmp_path / "a.png", transparency=bytes([128, 255])))
    assert found.tolist() == [[[127, 127, 127], [40, 50, 60]]]


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    grey = np.stack([GREY, np.full_like(GREY, 102)], axis=-1)
    grey[0, 0] = (7, 255)
    found = pixels(save(Image.fromarray(grey), tmp_path / "a.png"))
    expected = np.rint(GREY * 0.4 + 255 * 0.6)
    expected[0, 0] = 7
    assert found.ndim == 2
    assert np.abs(found - expected).max() <= 1
    assert found[0, 0] == 7
    clear = np.dstack([COLOUR, np.zeros_like(GREY)])
    clear[1, 1, 3] = 255
    found = pixels(save(Image.fromarray(clear), tmp_path / "b.png"))
    assert found[0].tolist() == [[255, 255, 255]] * 3
    assert found[1, 1].tolist() == COLOUR[1, 1].tolist()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_that_is_zero_everywhere_means_no_alpha(tmp_path: Path, suffix: str) -> None:
    blank = np.dstack([COLOUR, np.zeros_like(GREY)])
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(Image.fromarray(blank), tmp_path / f"a.{suffix}", **options)
    assert (pixels(path) == COLOUR).all()
    assert read_image(path, keep_alpha=True).mode == "RGB"


def test_transparent_colour_key_becomes_white(tmp_path: Path) -> None:
    grey = pixels(save(Image.fromarray(GREY), tmp_path / "a.png", transparency=50))
    assert grey.tolist() == [[0, 255, 100], [150, 200, 255]]
    key = tuple(COLOUR[1, 0].tolist())
    colour = pixels(save(Image.fromarray(COLOUR), tmp_path / "b.png", transparency=key))
    assert colour[1, 0].tolist() == [255, 255, 255]
    assert (colour[0] == COLOUR[0]).all()


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBX", "HSV", "YCbCr"])
def test_rare_modes_in_memory_keep_their_colours(mode: str) -> None:
    source = Image.fromarray(GREY if mode == "La" else COLOUR)
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    image = source.convert(through).convert(mode) if through else source.convert(mode)
    expected = np.asarray(image.convert("RGB")) if mode == "PA" else np.asarray(source)
    found = normalize_mode(image)
    assert found.mode == ("L" if mode == "La" else "RGB")
    assert np.abs(np.asarray(found).astype(int) - expected).max() <= (10 if mode == "HSV" else 4)  # hue in 8 bits


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 100, 128, 129], [257, 32768, 65407, 65535]], dtype=np.uint16)
    found = pixels(save(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    assert found.tolist() == [[0, 0, 0, 1], [1, 128, 255, 255]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_16_bits_are_read_in_either_byte_order(mode: str) -> None:
    dtype = ">u2" if mode.endswith("B") else "<u2"
    data = np.array([[257, 514], [771, 65535]], dtype=dtype)
    image = Image.frombytes(mode, (2, 2), data.tobytes())
    assert np.asarray(normalize_mode(image)).tolist() == [[1, 2], [3, 255]]


def test_dark_16_bit_image_stays_dark(tmp_path: Path) -> None:
    found = pixels(save(Image.fromarray(np.full((2, 2), 200, dtype=np.uint16)), tmp_path / "a.png"))
    assert (found == 1).all()


def test_png_in_mode_i_has_16_bits() -> None:
    image = Image.fromarray(np.full((2, 2), 200, dtype=np.int32))
    image.format = "PNG"
    assert (np.asarray(normalize_mode(image)) == 1).all()


def test_files_in_cmyk_and_ycbcr_keep_their_colours(tmp_path: Path) -> None:
    flat = np.broadcast_to(np.array([200, 100, 50], np.uint8), (16, 16, 3))
    for name, mode in (("a.jpg", "CMYK"), ("b.tif", "CMYK"), ("c.jpg", "RGB"), ("d.tif", "YCbCr")):
        found = pixels(save(Image.fromarray(flat).convert(mode), tmp_path / name))
        assert np.abs(found.astype(int) - flat).max() <= 4, name


def test_lab_pictures_and_files_keep_their_colours(tmp_path: Path) -> None:
    flat = Image.new("RGB", (4, 4), (200, 100, 50))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(flat, to_lab)
    assert lab is not None
    assert lab.mode == "LAB"
    for found in (np.asarray(normalize_mode(lab)), pixels(save(lab, tmp_path / "a.tif"))):
        assert np.abs(found.astype(int) - np.asarray(flat)).max() <= 10


TURNS = {
    1: GREY,
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1],
    5: GREY.T,
    6: np.rot90(GREY, -1),
    7: GREY[::-1, ::-1].T,
    8: np.rot90(GREY),
    9: GREY,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(Image.fromarray(GREY), tmp_path / f"a.{suffix}", exif=exif, **options)
    image = read_image(path)
    assert (np.asarray(image.convert("L")) == TURNS[orientation]).all()
    assert normalize_mode(image).size == image.size


def test_tiff_that_is_not_loaded_yet_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(save(Image.fromarray(GREY), tmp_path / "a.tif", exif=exif, compression="tiff_lzw")) as opened:
        assert (np.asarray(normalize_mode(opened)) == np.rot90(GREY, -1)).all()


def test_orientation_of_a_jpeg_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(Image.new("RGB", (32, 16), "red"), tmp_path / "a.jpg", exif=exif)
    assert read_image(path).size == (16, 32)
    with Image.open(path) as opened:
        assert normalize_mode(opened).size == (16, 32)


def test_16_bits_and_alpha_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = save(Image.fromarray(GREY.astype(np.uint16) * 257), tmp_path / "a.png", exif=exif)
    assert (pixels(deep) == np.rot90(GREY, -1)).all()
    key = save(Image.fromarray(GREY), tmp_path / "b.png", exif=exif, transparency=0)
    assert (pixels(key) == np.rot90(np.where(GREY == 0, 255, GREY), -1)).all()


def test_damaged_metadata_do_not_matter(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (8, 8), "red"), tmp_path / "a.jpg", exif=b"Exif\x00\x00garbage")
    assert read_image(path).size == (8, 8)


def test_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (pixels(path) == 10).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cannot read image '.*cut\.{suffix}': \w+"):
        read_image(path)


def test_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    # Pillow would start Ghostscript for this one
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    for name, cause in (("text", "its format is not known"), ("empty", "not known"), ("script", r"PostScript \(EPS\)")):
        with pytest.raises(DataError, match=rf"{name}\.png': .*{cause}"):
            read_image(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match="Is a directory"):
        read_image(tmp_path / "folder.png")
    with pytest.raises(DataError, match="No such file"):
        read_image(tmp_path / "missing.png")


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(Image.new("L", (30, 30)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert read_image(path).size == (30, 30)  # within twice the limit Pillow only warns
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(DataError, match="decompression bomb"):
        read_image(path)


def test_image_without_pixels_is_refused() -> None:
    with pytest.raises(DataError, match="at least one pixel, found 0 x 5"):
        normalize_mode(Image.new("L", (0, 5)))


@pytest.mark.parametrize(("mode", "kept"), [("LA", "LA"), ("RGBA", "RGBA"), ("L", "L"), ("RGB", "RGB"), ("La", "LA")])
def test_alpha_plane_is_kept_on_request(mode, kept):
    bands = {"L": 1, "LA": 2, "La": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, bands), dtype=np.uint8)
    image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels).convert(mode)
    found = normalize_mode(image, keep_alpha=True)
    assert found.mode == kept
    if mode == kept:
        assert found.tobytes() == image.tobytes()


def test_palette_with_transparency_keeps_its_alpha_plane(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=1)
    found = read_image(tmp_path / "p.png", keep_alpha=True)
    assert found.mode == "RGBA"
    assert [found.getpixel((0, 0)), found.getpixel((1, 0))] == [(255, 0, 0, 255), (0, 255, 0, 0)]
