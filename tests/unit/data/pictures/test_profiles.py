import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from vqgen.data.pictures.png_colours import described_profile
from vqgen.data.pictures.profiles import deep_to_srgb, to_srgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = described_profile({b"cICP": bytes([12, 13, 0, 1])}, is_grey=False)
LINEAR = described_profile({b"gAMA": struct.pack(">I", 100_000)}, is_grey=False)
LINEAR_GREY = described_profile({b"gAMA": struct.pack(">I", 100_000)}, is_grey=True)
COLOURS = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)

TO_XYZ_P3 = np.array([[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0, 0.0451134, 1.0439444]])
FROM_XYZ = np.array([[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560],
                     [0.0556434, -0.2040259, 1.0572252]])  # fmt: skip


def encoded(light):
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def decoded(values):
    share = values / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def test_wide_colours_become_those_of_srgb_by_definition():
    found = np.asarray(to_srgb(Image.fromarray(COLOURS), P3))
    expected = encoded(decoded(COLOURS) @ TO_XYZ_P3.T @ FROM_XYZ.T)
    assert np.abs(found - expected).max() <= 1.5


def test_srgb_stays_the_same_object():
    picture = Image.fromarray(COLOURS)
    assert to_srgb(picture, SRGB) is picture
    assert to_srgb(picture, None) is picture


def test_small_rounding_of_srgb_is_srgb():
    other = bytearray(SRGB)
    place = other.find(b"XYZ ", 132) + 8  # the first tag of this type
    other[place + 3] ^= 1
    picture = Image.fromarray(COLOURS)
    assert to_srgb(picture, bytes(other)) is picture


def test_grey_stays_grey_and_every_level_is_exact():
    greys = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    found = to_srgb(greys, LINEAR_GREY)
    assert found.mode == "L"
    assert np.abs(np.asarray(found)[0] - encoded(np.arange(256) / 255)).max() <= 0.51


def corrupted():
    return SRGB[:100] + b"\xff" * 60 + SRGB[160:]


@pytest.mark.parametrize("profile", [b"", b"nonsense", SRGB[:200], corrupted(), LINEAR_GREY, b"x" * (1 << 25)])
def test_profile_that_is_broken_or_of_another_space_says_nothing(profile):
    picture = Image.fromarray(COLOURS)
    assert to_srgb(picture, profile) is picture


def test_profile_of_colours_says_nothing_of_grey():
    picture = Image.new("L", (2, 2), 100)
    assert to_srgb(picture, P3) is picture


def test_inks_without_a_profile_take_light_away():
    inks = Image.new("CMYK", (1, 1), (255, 0, 51, 102))
    found = to_srgb(inks, None)
    assert np.abs(np.array(found.getpixel((0, 0))) - [0, 153, 122.4]).max() <= 1
    assert to_srgb(inks, P3).getpixel((0, 0)) == found.getpixel((0, 0))


def test_profile_of_inks_is_that_of_littlecms():
    # A device link of ink limits has the colour space CMYK without the size of a printer's profile.
    profile = _ink_profile()
    inks = Image.new("CMYK", (1, 1), (200, 10, 30, 40))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    expected = ImageCms.profileToProfile(inks, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert to_srgb(inks, profile).getpixel((0, 0)) == expected.getpixel((0, 0))
    assert to_srgb(inks, profile).getpixel((0, 0)) != to_srgb(inks, None).getpixel((0, 0))


def _ink_profile():
    """Builds a profile of four inks with a table of 2 x 2 x 2 x 2 colours in Lab."""
    grid = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    lightness = 255 - 40 * grid[:, :3].sum(1) - 130 * grid[:, 3]
    lab = np.stack([np.clip(lightness, 0, 255), 128 + 60 * (grid[:, 1] - grid[:, 0]), 128 + 60 * grid[:, 2]], -1)
    lut = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    )
    lut += bytes(range(256)) * 4 + np.clip(lab, 0, 255).astype(np.uint8).tobytes() + bytes(range(256)) * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"A2B0": lut, b"wtpt": white}
    start = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061).ljust(60, b"\0") + table + body


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_linear_light_keeps_its_dark_levels(channels):
    convert = deep_to_srgb(LINEAR if channels == 3 else LINEAR_GREY, channels)
    assert convert is not None
    scaled = np.repeat(np.linspace(0, 255, 4096)[None, :, None], channels, -1)
    found = convert(scaled)
    assert found.dtype == np.uint8
    assert np.abs(found - encoded(scaled / 255)).max() <= 1
    assert len(np.unique(found)) > 240  # 8 bits of linear light have 184 levels


def test_deep_srgb_needs_no_conversion():
    assert deep_to_srgb(SRGB, 3) is None
    assert deep_to_srgb(None, 1) is None
    assert deep_to_srgb(b"nonsense", 3) is None
