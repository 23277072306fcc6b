import pytest

from vqgen.evaluation.curves import QUALITIES, TITLES, Point, decibels, nearest_point


def test_document_has_unknown_values_but_no_setting_that_a_codec_lacks():
    found = Point(0.5, 30.0).document()
    assert found == {
        "bpp": 0.5, "psnr": 30.0, "ms_ssim": None, "lpips": None, "bytes": None, "write_seconds": None,
        "read_seconds": None,
    }  # fmt: skip
    assert Point(0.5, quality=70).document()["quality"] == 70
    assert Point(0.5, checkpoint="a").document()["checkpoint"] == "a"


def test_qualities_are_in_decibels():
    point = Point(1.0, 30.0, 0.99)
    assert {name: quality(point) for name, quality in QUALITIES.items()} == pytest.approx({"psnr": 30, "ms_ssim": 20})
    assert QUALITIES["psnr"](Point(1.0)) is None
    assert QUALITIES["ms_ssim"](Point(1.0)) is None
    assert QUALITIES.keys() == TITLES.keys()


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (0.9, 10), (0.999, 30), (1.0, 100), (None, None)])
def test_decibels_grow_to_100(value, expected):
    assert decibels(value) == (None if expected is None else pytest.approx(expected))


def test_nearest_point_is_nearest_by_ratio():
    points = [Point(0.1), Point(1.0)]
    assert nearest_point(points, 0.32).bpp == 1.0  # 0.32 is further from 0.1 than from 1 by a factor
    assert nearest_point(points, 0.31).bpp == 0.1
