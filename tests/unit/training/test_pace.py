import logging
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from vqgen.config import TrainConfig
from vqgen.training import pace as module
from vqgen.training.pace import LEAST_SHARE, Pace, Pacer, TimeLimit


def run(limit, total, step_seconds, validation_seconds=0.0, validate_every=10, check_every=1, pace=None):
    """Trains against a clock of its own and returns the pace of the end, the time, and all ends that were chosen."""
    pace = pace or Pace(total, total)
    elapsed = 0.0
    ends = []
    limit.start(0, elapsed)
    step = 0
    while step < pace.end:
        elapsed += step_seconds(step) if callable(step_seconds) else step_seconds
        step += 1
        if step % check_every == 0:
            end = limit.choose_end(pace, step, elapsed)
            if end != pace.end:
                ends.append(end)
                pace = pace.ending_at(end, step)
        if step % validate_every == 0 or step == pace.end:
            limit.add_validation(validation_seconds)
            elapsed += validation_seconds
    return pace, elapsed, ends


def test_place_in_a_training_of_full_length_is_the_step_itself():
    pace = Pace(1000, 1000)
    places = [pace.at(step) for step in range(1001)]
    assert places == list(range(1001))
    assert {type(place) for place in places} == {int}
    assert not pace.is_shortened


def test_shortened_training_passes_through_the_whole_schedule_without_a_jump():
    pace = Pace(1000, 1000).ending_at(400, 100).ending_at(250, 200).ending_at(500, 210)
    assert pace.is_shortened
    earlier = Pace(1000, 1000).ending_at(400, 100).ending_at(250, 200)
    assert pace.at(210) == earlier.at(210)
    places = [pace.at(step) for step in range(210, 501)]
    assert all(after > before for before, after in pairwise(places))
    assert places[-1] == 1000


@pytest.mark.parametrize("end", [30, 60])
def test_places_of_earlier_steps_lie_before_a_new_pace(end):
    pace = Pace(100, 100).ending_at(50, 10).ending_at(end, 30)  # it may end at once
    place = 10 + 20 * 90 / 40
    assert [pace.at(step) for step in (0, 29)] == [place, place]
    assert pace.at(30) == (place if end > 30 else 100)
    assert pace.at(end) == 100


def test_training_that_is_lengthened_to_all_its_steps_goes_on_from_its_place():
    pace = Pace(100, 100).ending_at(50, 10).ending_at(100, 30)
    assert pace.is_shortened
    places = [pace.at(step) for step in range(30, 101)]
    assert places[0] == 10 + 20 * 90 / 40
    assert all(0 < after - before < 1 for before, after in pairwise(places))
    assert places[-1] == 100


def test_place_after_the_end_is_the_end_of_the_schedule():
    pace = Pace(100, 100).ending_at(40, 40)
    assert pace.at(40) == pace.at(41) == 100


def test_training_within_its_time_keeps_its_length():
    pace, elapsed, ends = run(TimeLimit(101.0, 10), 100, 0.9, validation_seconds=0.9)
    assert (pace, ends) == (Pace(100, 100), [])
    assert elapsed == pytest.approx(99)


@pytest.mark.parametrize("check_every", [1, 7])
@pytest.mark.parametrize("validation_seconds", [0.0, 5.0])
def test_slow_training_ends_within_its_time_and_uses_it(check_every, validation_seconds):
    limit = TimeLimit(100.0, 10)
    pace, elapsed, _ = run(limit, 100, 2.0, validation_seconds, check_every=check_every)
    assert 12 < pace.end < 100
    assert 100 - 2 * 10 < elapsed <= 100 + 2 * check_every


def test_end_leaves_time_for_the_validations_between_and_the_last_one():
    limit = TimeLimit(101.0, 10)
    limit.start(0, 0.0)
    limit.add_validation(5.0)
    # Left are 101 - 25 - 5 seconds. A step takes (25 - 5) / 10, and a tenth of a validation.
    assert limit.choose_end(Pace(100, 100), 10, 25.0) == 10 + int(71 / 2.5)
    assert limit.choose_end(Pace(100, 38), 10, 25.0) == 38  # asked again: nothing is new
    # Ten more steps without a validation: the one before does not count as theirs.
    assert limit.choose_end(Pace(100, 38), 20, 45.0) == 20 + int((101 - 45 - 5) / 2.5)


@pytest.mark.parametrize(("elapsed", "end"), [(50.5, 100), (50.9, 100), (53.0, 94), (60.0, 83)])
def test_small_change_of_the_end_is_noise(elapsed, end):
    """A change of at most 2 of the 50 steps that are left, 4 %, changes nothing."""
    limit = TimeLimit(100.0, 10)
    limit.start(0, 0.0)
    assert limit.choose_end(Pace(100, 100), 50, elapsed) == end


def test_training_that_becomes_slow_ends_within_its_time():
    pace, elapsed, _ = run(TimeLimit(100.0, 10), 100, lambda step: 0.9 if step < 50 else 3.0)
    assert 50 < pace.end < 70
    assert elapsed <= 103


def test_training_is_lengthened_again_after_a_slow_while():
    pace, elapsed, ends = run(TimeLimit(120.0, 10), 100, lambda step: 3.0 if 10 <= step < 15 else 1.0)
    assert min(ends) < 60
    assert pace.end == 100
    assert elapsed == pytest.approx(110)


def test_hiccup_shortens_less_than_a_slow_machine():
    ends = []
    for latest in ([4.0], [4.0, 4.0, 4.0]):
        limit = TimeLimit(100.0, 10)
        limit.start(0, 0.0)
        elapsed = 5.0
        end = limit.choose_end(Pace(100, 100), 5, elapsed)
        for step, seconds in enumerate(latest, start=6):
            elapsed += seconds
            end = limit.choose_end(Pace(100, end), step, elapsed)
        ends.append(end)
    assert ends[1] < ends[0] < 100


def test_training_does_a_least_share_of_its_steps():
    pace, _, _ = run(TimeLimit(1.0, 10), 80, 5.0)
    assert pace.end == LEAST_SHARE * 80


def test_training_whose_time_is_over_ends_with_the_present_step():
    limit = TimeLimit(10.0, 10)
    limit.start(50, 30.0)
    assert limit.choose_end(Pace(100, 100), 51, 31.0) == 51


def test_slow_first_steps_decide_nothing():
    pace, _, ends = run(TimeLimit(1000.0, 100), 900, lambda step: 5.0 if step < 5 else 1.0)
    assert (pace.end, ends) == (900, [])


def test_clock_without_a_tick_changes_nothing():
    limit = TimeLimit(10.0, 10)
    limit.start(0, 0.0)
    assert limit.choose_end(Pace(100, 100), 1, 0.0) == 100
    assert limit.choose_end(Pace(100, 100), 1, 0.0) == 100


def test_validation_that_took_all_the_time_says_nothing_about_the_steps():
    limit = TimeLimit(10.0, 10)
    limit.start(0, 0.0)
    limit.add_validation(3.0)  # by a clock that rounds up
    assert limit.choose_end(Pace(100, 100), 1, 2.9) == 100


def test_limit_has_to_be_started():
    with pytest.raises(AssertionError, match="start comes first"):
        TimeLimit(10.0, 10).choose_end(Pace(100, 100), 1, 1.0)


# the pacer


def test_pacer_tells_its_limit_of_validations(unchecked_annotations):
    session = SimpleNamespace(accelerator=SimpleNamespace(num_processes=1, is_main_process=True), stage="vqvae")
    config = TrainConfig(max_seconds=101.0, validate_every=10, log_every=10)
    pacer = Pacer(100, config, session, SimpleNamespace())
    pacer.start(0, 0.0, None)
    pacer.add_validation(5.0)
    assert pacer.keep(10, 25.0) == (38, 10, 10)


def make_pacer(monkeypatch, *, is_main, end_of_main):
    """A pacer of one of two processes, with a second for each step; all checks of the end are ten steps apart."""

    def all_reduce_max(own):
        return torch.maximum(own, torch.tensor(end_of_main)) if not is_main else own

    monkeypatch.setattr(module, "all_reduce_max", all_reduce_max)
    accelerator = SimpleNamespace(num_processes=2, is_main_process=is_main, device=torch.device("cpu"))
    session = SimpleNamespace(accelerator=accelerator, stage="vqvae")
    pacer = Pacer(100, TrainConfig(max_seconds=100.0, log_every=10), session, SimpleNamespace())
    pacer.start(0, 0.0, None)
    return pacer


@pytest.mark.parametrize("end_of_main", [40, 100])
def test_main_process_decides_the_end_of_all(unchecked_annotations, monkeypatch, end_of_main):
    pacer = make_pacer(monkeypatch, is_main=False, end_of_main=end_of_main)
    pacer.keep(10, 20.0)
    assert pacer.pace.end == end_of_main  # this process would end after 50 steps


@pytest.mark.parametrize("is_main", [True, False])
def test_shorter_training_is_told_once_by_the_main_process(unchecked_annotations, monkeypatch, caplog, is_main):
    pacer = make_pacer(monkeypatch, is_main=is_main, end_of_main=50)
    with caplog.at_level(logging.WARNING, logger="vqgen.training"):
        pacer.keep(10, 20.0)
        pacer.keep(20, 50.0)
    told = ["vqvae: is slower than planned; it will end after about 50 of 100 steps, within its 100 s"]
    assert caplog.messages == (told if is_main else [])


def test_end_is_decided_every_few_steps(unchecked_annotations, monkeypatch):
    pacer = make_pacer(monkeypatch, is_main=True, end_of_main=0)
    assert pacer.keep(9, 18.0) is None
    assert pacer.keep(10, 20.0) == (50, 10, 10)
    assert pacer.keep(19, 90.0) == (50, 10, 10)
    assert pacer.keep(20, 90.0) != (50, 10, 10)
