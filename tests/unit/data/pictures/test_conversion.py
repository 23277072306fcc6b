import numpy as np
import pytest
from PIL import Image, ImageCms

from vqgen.data import Reading
from vqgen.data.pictures.conversion import convert, plain
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.png_colours import described_profile
from vqgen.data.pictures.samples import Samples

P3 = described_profile({b"cICP": bytes([12, 13, 0, 1])}, is_grey=False)
RGBA = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)


def converted(pixels, *, keep_alpha=False, value_range=None, **fields):
    return convert(Decoded(pixels, **fields), Reading(value_range=value_range), keep_alpha=keep_alpha)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("1", "L"), ("L", "L"), ("LA", "L"), ("La", "L"), ("P", "RGB"), ("PA", "RGB"), ("RGB", "RGB"), ("RGBA", "RGB"),
     ("RGBa", "RGB"), ("RGBX", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("LAB", "RGB")],
)  # fmt: skip
def test_every_mode_becomes_grey_or_rgb(mode, found):
    assert converted(Image.new(mode, (2, 3))).mode == found


def test_picture_that_needs_no_change_is_itself():
    for mode in ("L", "RGB"):
        image = Image.new(mode, (2, 3))
        assert converted(image) is image
        assert plain(image) is image


def test_colours_are_converted_and_alpha_is_kept():
    image = Image.fromarray(RGBA)
    found = converted(image, keep_alpha=True, profile=P3)
    colours = converted(image.convert("RGB"), profile=P3)
    assert found.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert found.convert("RGB").tobytes() == colours.tobytes()
    assert image.tobytes() == RGBA.tobytes()  # the caller's picture is not changed


def test_deep_and_shallow_samples_of_a_profile_agree():
    shallow = converted(Image.fromarray(RGBA[..., :3]), profile=P3)
    deep = converted(Samples(RGBA[..., :3].astype(np.uint16) * 257, "16-bit", (0, 65535)), profile=P3)
    assert np.abs(np.asarray(shallow).astype(int) - np.asarray(deep)).max() <= 1


def test_declared_range_applies_to_files_and_not_to_pictures_of_a_screen():
    image = Image.new("L", (1, 1), 15)
    assert converted(image, value_range=(0, 30)).getpixel((0, 0)) == 128
    assert converted(image, value_range=(0, 30), is_of_file=False) is image


def test_picture_is_turned_after_all():
    found = converted(Samples(np.arange(6, dtype=np.uint8).reshape(2, 3, 1), "8-bit", (0, 255)), orientation=6)
    assert np.asarray(found).tolist() == np.rot90(np.arange(6).reshape(2, 3), -1).tolist()


def test_blank_alpha_is_dropped_in_every_mode():
    blank = RGBA.copy()
    blank[..., 3] = 0
    assert (np.asarray(converted(Image.fromarray(blank))) == blank[..., :3]).all()
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30])
    palette.info["transparency"] = 0
    assert converted(palette, keep_alpha=True).getpixel((0, 0)) == (10, 20, 30)


def test_profile_of_inks_is_used_before_they_are_mixed():
    broken = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert converted(inks, profile=broken).getpixel((0, 0)) == converted(inks).getpixel((0, 0))
