import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.evaluation.bd_rate import BDRate, bd_rate, bd_rates, best_points, line_of
from vqgen.evaluation.curves import Point, decibels

NAMES = ("vqgen", "JPEG")

# JCTVC-E137 (2011): rates in kbit/s, PSNR in dB, and the BD-rates that the VMAF library publishes for them.
PUBLISHED = [
    (
        [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
        [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
        -0.465215420752807,
    ),
    (
        [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
        [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
        -1.8779823450567612,
    ),
]

CURVE = [(0.25, 26.0), (0.5, 29.5), (1.0, 33.0), (2.0, 38.0), (4.0, 42.5)]


@st.composite
def curves(draw):
    """A curve that grows in rate and quality."""
    steps = draw(st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.2, 5)), min_size=4, max_size=9))
    rates = np.exp(np.cumsum([step for step, _ in steps]) - 4)
    qualities = 20 + np.cumsum([step for _, step in steps])
    return list(zip(rates.tolist(), qualities.tolist(), strict=True))


@pytest.mark.parametrize(("reference", "ours", "percent"), PUBLISHED)
def test_published_curves_have_their_published_bd_rates(reference, ours, percent):
    assert bd_rate(ours, reference, NAMES).percent == pytest.approx(percent, abs=1e-9)


@given(curves())
def test_equal_curves_differ_by_nothing(curve):
    found = bd_rate(curve, curve, NAMES)
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert (found.low, found.high) == (curve[0][1], curve[-1][1])
    assert found.reason is None


@given(curves(), st.floats(0.05, 20))
def test_rates_times_a_factor_differ_by_the_factor(curve, factor):
    ours = [(factor * rate, quality) for rate, quality in curve]
    assert bd_rate(ours, curve, NAMES).percent == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)


def test_half_the_rate_everywhere_is_minus_50_percent():
    assert bd_rate([(rate / 2, quality) for rate, quality in CURVE], CURVE, NAMES).percent == pytest.approx(-50)


@given(curves(), curves())
def test_exchanged_curves_undo_each_other(one, other):
    there, back = bd_rate(one, other, NAMES), bd_rate(other, one, NAMES)
    if there.percent is None:
        assert back.percent is None
    else:
        assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)


@given(curves(), st.floats(0.01, 100), st.randoms())
def test_unit_of_the_rate_and_order_of_the_points_change_nothing(curve, unit, random):
    ours = [(rate * 1.2, quality + 0.5) for rate, quality in curve]
    expected = bd_rate(ours, curve, NAMES)
    shuffled = [(rate * unit, quality) for rate, quality in ours]
    random.shuffle(shuffled)
    found = bd_rate(shuffled, [(rate * unit, quality) for rate, quality in curve], NAMES)
    assert found.percent == pytest.approx(expected.percent, rel=1e-6, abs=1e-6)


def test_only_the_common_range_counts():
    # Ours takes half the bits up to 40 dB, and nothing is known of the reference above it.
    reference = [(0.25, 25.0), (0.5, 30.0), (1.0, 35.0), (2.0, 40.0)]
    ours = [(0.25, 30.0), (0.5, 35.0), (1.0, 40.0), (900.0, 45.0)]
    found = bd_rate(ours, reference, NAMES)
    assert (found.low, found.high) == (30, 40)
    # Straight lines in log rate up to 35 dB; the far point bends the last stretch below 40 dB a little at most.
    assert -52 < found.percent < -45


@pytest.mark.parametrize("gap", [0.0, 5.0])
def test_curves_without_a_common_range_have_no_bd_rate(gap):
    higher = [(rate, quality + 16.5 + gap) for rate, quality in CURVE]
    found = bd_rate(CURVE, higher, NAMES)
    assert found == BDRate(
        reason=f"the curves share no range of quality, in dB: vqgen 26 to 42.5, JPEG {42.5 + gap:.4g} to {59 + gap:.4g}"
    )


@pytest.mark.parametrize(
    ("ours", "reference", "reason"),
    [
        (CURVE[:1], CURVE, "vqgen has 1 rate, and a BD-rate takes at least 4"),
        (CURVE[:3], CURVE, "vqgen has 3 rates, and a BD-rate takes at least 4"),
        (CURVE, CURVE[1:4], "JPEG has 3 rates, and a BD-rate takes at least 4"),
        (
            [*CURVE[:3], (5.0, 30.0)],
            CURVE,
            "vqgen has 4 rates, of which only 3 are not beaten by another, and a BD-rate takes at least 4",
        ),
    ],
)
def test_too_few_points_have_no_bd_rate(ours, reference, reason):
    found = bd_rate(ours, reference, NAMES)
    assert found.percent is None
    assert found.reason is not None and found.reason.startswith(reason)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 1.0]), st.sampled_from([20.0, 25.0, 30.0, 31.0])), min_size=1)
)
def test_best_points_are_those_that_no_other_beats(points):
    def beats(one, other):
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    assert best_points(points) == sorted({point for point in points if not any(beats(each, point) for each in points)})


def test_point_that_another_beats_changes_nothing():
    wasteful = [*CURVE, (3.0, 30.0), CURVE[0]]
    assert bd_rate(wasteful, CURVE, NAMES) == bd_rate(CURVE, CURVE, NAMES)


def test_ms_ssim_is_compared_in_decibels():
    points = [Point(rate, None, 1 - 10 ** (-quality / 10)) for rate, quality in CURVE]
    assert [quality for _, quality in line_of(points, "ms_ssim")] == pytest.approx([quality for _, quality in CURVE])
    ours = [Point(point.bpp * 0.75, None, point.ms_ssim) for point in points]
    found = bd_rates(ours, {"JPEG": points})["JPEG"]
    assert found["ms_ssim"].percent == pytest.approx(-25)
    assert found["psnr"] == BDRate(reason="vqgen has no PSNR")


def test_reference_without_a_metric_is_named():
    ours = [Point(rate, quality, 0.5) for rate, quality in CURVE]
    found = bd_rates(ours, {"paper": [Point(rate, quality) for rate, quality in CURVE]})["paper"]
    assert found["psnr"].percent == pytest.approx(0)
    assert found["ms_ssim"] == BDRate(reason="paper has no MS-SSIM")


def test_decibels_are_bounded():
    assert decibels(0.9) == pytest.approx(10)
    assert decibels(1.0) == pytest.approx(100)
    assert decibels(0.0) == 0
    assert decibels(None) is None
    assert math.isfinite(bd_rate(CURVE, [(rate, quality + 0.1) for rate, quality in CURVE], NAMES).percent)
