import io
import struct

import pytest
from PIL import ImageCms

from vqgen.data.pictures.png_colours import described_profile

SRGB_POINTS = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
WIDE_POINTS = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def gamma(value):
    return {b"gAMA": struct.pack(">I", round(100_000 * value))}


def points(*values):
    return {b"cHRM": struct.pack(">8I", *(round(100_000 * value) for value in values))}


def code(primaries, curve, matrix=0, is_full=1):
    return {b"cICP": bytes([primaries, curve, matrix, is_full])}


@pytest.mark.parametrize(
    "chunks",
    [
        {},
        gamma(0.45455),
        gamma(0.45455) | points(*SRGB_POINTS),
        gamma(0.45),
        gamma(1.0) | {b"sRGB": b"\0"},
        points(*WIDE_POINTS),  # without a curve
        gamma(0.00001),
        gamma(100),
        {b"gAMA": b"\0"},
        code(9, 16),  # PQ
        code(9, 18),  # HLG
        code(2, 13),  # unspecified primaries
        code(12, 13, is_full=0),
        {b"cICP": b""},
    ],
)
def test_chunks_that_say_srgb_or_nothing_have_no_profile(chunks):
    assert described_profile(chunks, is_grey=False) is None


@pytest.mark.parametrize(
    "chunks", [gamma(1.0), gamma(0.45455) | points(*WIDE_POINTS), code(12, 13), code(1, 8), code(9, 4), code(9, 5)]
)
def test_profile_can_be_opened(chunks):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(described_profile(chunks, is_grey=False)))
    assert profile.profile.xcolor_space.strip() == "RGB"


def test_grey_has_a_profile_of_grey_and_primaries_do_not_matter():
    profile = described_profile(gamma(1.0) | points(*WIDE_POINTS), is_grey=True)
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "GRAY"
    assert described_profile(gamma(0.45455) | points(*WIDE_POINTS), is_grey=True) is None


def test_numbers_come_before_gamma():
    assert described_profile(code(12, 13) | gamma(1.0), is_grey=False) == described_profile(code(12, 13), is_grey=False)


def test_chromaticities_that_make_no_sense_are_those_of_srgb():
    broken = gamma(1.0) | points(*[0.0] * 8)
    assert described_profile(broken, is_grey=False) == described_profile(gamma(1.0), is_grey=False)
