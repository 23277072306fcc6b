import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vqgen.reports.page.charts import HEIGHT, WIDTH, Curve, draw_chart, number_text, thinned

LOSSES = Curve("training", [(step, 5 / step) for step in range(1, 101)], 1)


def places(line):
    return [tuple(map(float, point.split(","))) for point in line.path.split()]


@example([(1, 1.0), (1, 2.2250738585e-313)], True)
@example([(1, 1.0), (2, 1e300)], True)
@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(-1e6, 1e6)), min_size=1, max_size=50),
    st.booleans(),
)
def test_chart_of_any_numbers_stays_in_its_drawing(points, logarithmic):
    chart = draw_chart("loss", [Curve("one", sorted(points), 1)], logarithmic=logarithmic)
    assert chart is not None
    for x, y in places(chart.lines[0]):
        assert chart.left <= x <= chart.right and chart.top <= y <= chart.bottom
    for tick in chart.across_ticks:
        assert 0 <= tick.place <= WIDTH
        assert "." not in tick.text
    for tick in chart.up_ticks:
        assert 0 <= tick.place <= HEIGHT
    assert 1 <= len(chart.up_ticks) <= 8 and len(chart.across_ticks) <= 8


def test_higher_values_are_higher_and_later_steps_further_right():
    chart = draw_chart("loss", [Curve("one", [(1, 1.0), (2, 3.0), (3, 2.0)], 1)])
    (x1, y1), (x2, y2), (x3, y3) = places(chart.lines[0])
    assert x1 < x2 < x3
    assert y2 < y3 < y1


def test_equal_ratios_are_equally_far_on_a_logarithmic_axis():
    chart = draw_chart("loss", [Curve("one", [(1, 100.0), (50, 10.0), (99, 1.0)], 1)], logarithmic=True)
    (_, y1), (_, y2), (_, y3) = places(chart.lines[0])
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.2) or y1 == chart.top  # the first value may be cut off
    assert {"1", "10"} <= {tick.text for tick in chart.up_ticks}


def test_values_of_the_beginning_may_be_cut_off():
    points = [(0, 1e6), *((step, 1.0 + step / 1000) for step in range(10, 1001))]
    chart = draw_chart("loss", [Curve("one", points, 1)])
    ys = [y for _, y in places(chart.lines[0])]
    assert ys[0] == chart.top
    assert max(ys[1:]) - min(ys[1:]) > 150  # the rest fills the drawing


def test_values_that_are_not_finite_are_left_out():
    chart = draw_chart("loss", [Curve("one", [(1, math.nan), (2, 1.0), (3, math.inf), (4, 2.0)], 1)])
    assert len(places(chart.lines[0])) == 2
    assert draw_chart("loss", [Curve("one", [(1, math.nan)], 1)]) is None
    assert draw_chart("loss", []) is None


def test_bands_cover_the_axis_and_tell_the_values_of_all_curves():
    chart = draw_chart("loss", [LOSSES, Curve("validation", [(50, 0.25), (100, 0.125)], 2, has_dots=True)])
    assert chart.bands[0].begin == chart.left
    ends = [round(band.begin + band.width, 1) for band in chart.bands]
    assert ends[-1] == chart.right
    assert [band.begin for band in chart.bands[1:]] == ends[:-1]
    assert [band.text for band in chart.bands] == [
        "step 50: training 0.1, validation 0.25",
        "step 100: training 0.05, validation 0.125",
    ]
    assert len(chart.lines[1].dots) == 2 and not chart.lines[0].dots


@given(st.integers(0, 3000), st.integers(1, 500))
def test_thinned_points_keep_the_mean_and_the_order(count, most):
    points = [(float(step), float(step % 7)) for step in range(count)]
    found = thinned(points, most)
    assert len(found) <= most
    assert found == sorted(found)
    if count and count % len(found) == 0:  # all groups have the same size
        assert sum(y for _, y in found) / len(found) == pytest.approx(sum(y for _, y in points) / count)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234567, "1,234,567"), (0.25, "0.25"), (1e-5, "1e-05"), (12.3456, "12.35")]
)
def test_numbers_are_short(value, text):
    assert number_text(value) == text
