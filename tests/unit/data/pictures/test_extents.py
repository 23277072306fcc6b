import numpy as np
import pytest
from PIL import Image

from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.extents import Extent, common_range, extent_of, little_used, told_range
from vqgen.data.pictures.samples import Samples
from vqgen.errors import DataError


def extents(kind, own_range, *ends):
    return [Extent(kind, low, high, own_range) for low, high in ends]


def test_extent_is_that_of_the_colours():
    picture = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    assert extent_of(Decoded(picture)) == Extent("8-bit", 10, 30, (0, 255))
    assert extent_of(Decoded(Image.new("L", (2, 1), 5))) == Extent("8-bit", 5, 5, (0, 255))
    floats = Samples(np.array([[[-1.5], [2.0]]]), "float64", None)
    assert extent_of(Decoded(floats)) == Extent("float64", -1.5, 2.0, None)
    with pytest.raises(DataError, match="finite"):
        extent_of(Decoded(Samples(np.array([[[np.nan]]]), "float64", None)))


def test_common_range_is_that_of_samples_without_one():
    mixed = extents("float32", None, (0, 1), (-0.5, 0.75)) + extents("8-bit", (0, 255), (0, 255))
    assert common_range(mixed) == (-0.5, 1)
    assert common_range(mixed[2:]) is None
    assert common_range([]) is None


def test_common_range_of_a_constant_set_is_not_empty():
    assert common_range(extents("float32", None, (3, 3))) == (3, 4)


def test_measured_range_is_told():
    text = told_range(extents("float32", None, (0, 1.003)) + extents("8-bit", (0, 255), (0, 9)), (0, 1.003))
    assert "samples of 1 image (float32) define no values of black and white: 0 is black and 1.003 is white" in text


@pytest.mark.parametrize(
    ("kind", "own_range", "ends", "option"),
    [
        ("16-bit", (0, 65535), [(8, 4088)] * 20, "--data.value-range 0 4095"),
        ("16-bit", (0, 65535), [(200, 1000)] * 20, "--data.value-range 0 1023"),
        ("8-bit", (0, 255), [(0, 1)] * 3, "--data.value-range 0 1"),
        ("8-bit", (0, 255), [(240, 255)] * 3, "--data.value-range 0 255"),
        ("float32", None, [(0.0, 1.0)] * 30 + [(0.0, 1e6)], "--data.value-range 0 1"),
        ("int16", None, [(-100, 50)] * 30 + [(-100, 32000)], "--data.value-range -100 50"),
    ],
)
def test_set_that_uses_a_small_part_of_its_range_is_named_with_the_option(kind, own_range, ends, option):
    found = extents(kind, own_range, *ends)
    (line,) = little_used(found, None, common_range(found))
    assert line.endswith(option)
    assert f"samples of {len(ends)} {kind} images" in line


def test_sets_that_use_their_range_are_not_named():
    assert little_used(extents("8-bit", (0, 255), *[(level, level) for level in range(0, 256, 9)]), None, None) == []
    assert little_used(extents("16-bit", (0, 65535), (0, 9000)), None, None) == []
    assert little_used(extents("16-bit", (0, 65535), (8, 4088)), (0, 4095), None) == []
    assert little_used([], None, None) == []


def test_single_bright_picture_does_not_hide_a_dark_set():
    dark, bright = extents("16-bit", (0, 65535), (0, 4000), (0, 65535))
    assert len(little_used([dark] * 19 + [bright], None, None)) == 1
    assert little_used([dark] * 18 + [bright] * 2, None, None) == []


def test_kinds_are_judged_apart():
    mixed = extents("float32", None, (0, 1)) + extents("int32", None, (0, 4095))
    (line,) = little_used(mixed, None, common_range(mixed))
    assert "1 float32 images use 0 to 1 of 0 to 4095" in line
