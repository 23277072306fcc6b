"""The limit of a training's time, with a clock that the test moves."""

import json
import logging
from types import SimpleNamespace

import pytest
from training_runs import Cut, at_step, cut_at, difference, make_trainer, weights

from vqgen.training import trainer as module
from vqgen.training.optimization import learning_rate_at

STEPS = 40
TRAIN = {"steps": STEPS, "validate_every": 10, "save_every": 5, "log_every": 1}


class Clock:
    """A clock that stands still until a step or a validation moves it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def follow(self, trainer, step_seconds, validation_seconds=0.0):
        begin_step = trainer.objective.begin_step
        validate = trainer.objective.validate

        def begin(step, seed):
            self.now += step_seconds
            begin_step(step, seed)

        def timed_validate():
            self.now += validation_seconds
            return validate()

        trainer.objective.begin_step = begin
        trainer.objective.validate = timed_validate
        return trainer


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_fast_training_is_the_training_without_a_limit(clock, tmp_path):
    free = make_trainer(tmp_path / "free", train=TRAIN, noise=0.1)
    metrics = free.train()
    limited = clock.follow(make_trainer(tmp_path / "limited", train=TRAIN | {"max_seconds": 60}, noise=0.1), 1.0)
    assert limited.train() == metrics
    assert difference(weights(free), weights(limited)) == 0
    assert (tmp_path / "free" / "metrics.jsonl").read_bytes() == (tmp_path / "limited" / "metrics.jsonl").read_bytes()


def test_slow_training_ends_in_time_with_its_best_weights_and_a_learning_rate_near_zero(clock, tmp_path, caplog):
    trainer = clock.follow(make_trainer(tmp_path, train=TRAIN | {"max_seconds": 50}), 2.0, validation_seconds=1.0)
    with caplog.at_level(logging.WARNING, logger="vqgen.training"):
        metrics = trainer.train()
    assert 15 < metrics["steps"] < 26
    assert clock.now <= 52
    rates = [line["learning_rate"] for line in lines(tmp_path)]
    assert len(rates) == metrics["steps"]
    assert rates[-1] < 0.05 * max(rates)
    assert "val_mse" in lines(tmp_path)[-1]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("vqvae: is slower than planned; it will end after about")


def test_shortened_training_that_is_cut_goes_on_with_the_same_pace(clock, tmp_path):
    train = TRAIN | {"max_seconds": 50}
    whole = clock.follow(make_trainer(tmp_path / "whole", train=train, noise=0.1), 2.0)
    expected = whole.train()
    clock.now = 0.0
    first = clock.follow(make_trainer(tmp_path / "cut", train=train, noise=0.1), 2.0)
    cut_at(first, 15)
    with pytest.raises(Cut):
        first.train()
    clock.now = 1000.0  # the time between the sessions does not count
    second = clock.follow(make_trainer(tmp_path / "cut", train=train, noise=0.1), 2.0)
    at_step(second, 15, lambda: None)
    assert second.train() == expected
    assert second.pacer.pace.end == whole.pacer.pace.end
    assert difference(weights(whole), weights(second)) == 0
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_state_of_a_training_of_full_length_has_no_pace(clock, tmp_path):
    trainer = clock.follow(make_trainer(tmp_path, train=TRAIN | {"max_seconds": 1000}), 1.0)
    trainer.train()
    assert trainer.progress.pace is None
    assert "pace" not in trainer.progress.as_json()


def test_objective_sees_the_place_in_the_schedule(clock, tmp_path):
    trainer = make_trainer(tmp_path, train=TRAIN | {"max_seconds": 50})
    seen = []
    begin_step = trainer.objective.begin_step
    trainer.objective.begin_step = lambda step, seed: (seen.append(step), begin_step(step, seed))
    clock.follow(trainer, 2.0).train()
    assert len(seen) < STEPS
    assert seen[0] == 0
    assert seen[-1] > 0.9 * STEPS
    assert seen == sorted(set(seen))


def test_snapshot_is_taken_at_its_share_of_a_shortened_training(clock, tmp_path):
    trainer = make_trainer(tmp_path, train=TRAIN | {"max_seconds": 50}, snapshot_step=30)
    taken = [step for step in clock.follow(trainer, 2.0).steps() if trainer.snapshot][:1]
    assert trainer.pacer.pace.at(taken[0] - 1) < 30 <= trainer.pacer.pace.at(taken[0])


def test_batches_that_follow_the_pace_are_told_of_it(clock, tmp_path):
    trainer = make_trainer(tmp_path, train=TRAIN | {"max_seconds": 50})
    places = []
    trainer.batches.follow = places.append
    clock.follow(trainer, 2.0).train()
    assert places[-1](trainer.pacer.pace.end) == STEPS


def test_logged_rate_is_the_rate_of_the_place(clock, tmp_path):
    trainer = clock.follow(make_trainer(tmp_path, train=TRAIN | {"max_seconds": 50}), 2.0)
    trainer.train()
    last = trainer.pacer.pace.end - 1
    expected = learning_rate_at(trainer.pacer.pace.at(last), STEPS, trainer.config)
    assert lines(tmp_path)[-1]["learning_rate"] == pytest.approx(expected)


def test_training_whose_time_is_over_after_a_step_ends_with_it(clock, tmp_path):
    """A machine that sleeps in step 25 leaves no time for another one; that step is validated and kept."""
    trainer = make_trainer(tmp_path, train=TRAIN | {"max_seconds": 60})
    at_step(trainer, 25, lambda: setattr(clock, "now", clock.now + 1000))
    metrics = clock.follow(trainer, 1.0).train()
    assert metrics["steps"] == trainer.pacer.pace.end == trainer.pacer.pace.since == 26
    assert lines(tmp_path)[-1]["step"] == 26
    assert "val_mse" in lines(tmp_path)[-1]
