import re

import pytest

from vqgen.planning.plans import StagePlan
from vqgen.planning.text import _bpp, duration, plan_text, scaled


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "B", "-"), (7, "B", "7 B"), (1234, "", "1.23 k"), (41.2e9, "B", "41.2 GB"), (3e18, "", "3.00 E"),
     (999e6, "", "999 M"), (999_499, "", "999 k"), (999_600, "", "1.00 M"), (999.6, "B", "1.00 kB")],
)  # fmt: skip
def test_numbers_have_three_digits_and_a_prefix(value, unit, text):
    assert scaled(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.5, "0.5 s"),
        (59.0, "59 s"),
        (60.0, "1 min"),
        (5940.0, "99 min"),
        (5970.0, "1.66 h"),
        (36e3, "10 h"),
    ],
)
def test_durations_have_a_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_upper_bound_of_a_rate_is_marked():
    assert [_bpp(None), _bpp(0.12345), _bpp(0.12345, bound=True)] == ["-", "0.1235", "<= 0.1235"]


def test_table_has_a_line_for_each_stage(make_planner):
    planner = make_planner()
    stages = planner.stages()
    lines = [line.split() for line in plan_text(planner, stages).splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0] in {stage.stage for stage in stages}] == [s.stage for s in stages]
    assert re.search(r"time: about .+ in one process", plan_text(planner, stages))


def test_notes_name_everything_that_is_not_known(make_planner):
    planner = make_planner(counts=None, machine=None)
    text = plan_text(planner, planner.stages())
    assert "images: not known, because data.root contains none" in text
    assert "device:" not in text
    assert "time: about" not in text
    assert "expected bpp: <= marks the raw bits" in text


def test_rates_that_were_measured_need_no_note(make_planner):
    measured = StagePlan("prior-top", raw_bpp=1.0, expected_bpp=0.5, is_measured=True)
    text = plan_text(make_planner(), [measured])
    assert "<=" not in text
    assert "images: about 90 to train on, 10 held out, 20 to test" in text


def test_time_of_a_run_needs_the_times_of_all_stages(make_planner):
    stages = [StagePlan("vqvae", seconds=1.0), StagePlan("codes")]
    assert "time: about" not in plan_text(make_planner(), stages)
    assert "time: about 1 s in one process" in plan_text(make_planner(), stages[:1])


def test_time_that_is_left_is_told_if_some_work_is_done(make_planner):
    stages = [StagePlan("vqvae", seconds=40.0), StagePlan("codes", seconds=20.0)]
    planner = make_planner()
    assert "  time: about 30 s of it is left" in plan_text(planner, stages, {"vqvae": 0.25, "codes": 1.0}).splitlines()
    for known, shares in ((stages, None), (stages, {"vqvae": 1.0}), ([*stages, StagePlan("samples")], {"vqvae": 0.5})):
        assert "is left" not in plan_text(planner, known, shares)
