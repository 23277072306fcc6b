"""A training that has ended gets more steps from its saved state."""

import json

import pytest
import torch
from training_runs import NUM_IMAGES, Cut, cut_at, difference, make_trainer, weights

from vqgen.config import TrainConfig
from vqgen.storage.tensors import load_tensors, save_tensors
from vqgen.training.metrics_log import read_metrics
from vqgen.training.optimization import learning_rate_at

FIRST = 8
ALL = 16

FEATURES = {
    "plain": {},
    "average": {"train": {"ema_decay": 0.9}, "noise": 0.05},
    "float32": {"double": False, "noise": 0.05, "train": {"weight_decay": 0.1}},
}


def trainer(folder, steps, *, schedule="constant", continued_from=None, **settings):
    train = {"steps": steps, "schedule": schedule} | settings.pop("train", {})
    return make_trainer(folder, train=train, continued_from=continued_from, **settings)


def state_of(made):
    state, text = load_tensors(made.state_path)
    progress = json.loads(text)
    del progress["seconds"]
    return state, progress


@pytest.mark.parametrize("features", FEATURES)
def test_continued_training_is_bit_for_bit_the_longer_one_if_no_schedule_depends_on_the_length(tmp_path, features):
    settings = FEATURES[features]
    whole = trainer(tmp_path / "whole", ALL, **settings)
    expected = whole.train()
    trainer(tmp_path / "parts", FIRST, **settings).train()
    continued = trainer(tmp_path / "parts", ALL, continued_from=FIRST, **settings)
    metrics = continued.train()
    assert difference(weights(continued), weights(whole)) == 0
    state, progress = state_of(continued)
    expected_state, expected_progress = state_of(whole)
    assert [name for name in expected_state if not torch.equal(state[name], expected_state[name])] == []
    assert (progress, metrics) == (expected_progress, expected)
    assert continued.log.path.read_text() == whole.log.path.read_text()


@pytest.mark.parametrize("cut", [FIRST, FIRST + 1, FIRST + 5])
def test_cut_continuation_ends_like_an_uninterrupted_one(tmp_path, cut):
    ends = []
    for name, cuts in (("whole", []), ("cut", [cut])):
        trainer(tmp_path / name, FIRST, schedule="cosine").train()
        for step in cuts:
            made = trainer(tmp_path / name, ALL, schedule="cosine", continued_from=FIRST)
            cut_at(made, step)
            with pytest.raises(Cut):
                made.train()
        made = trainer(tmp_path / name, ALL, schedule="cosine", continued_from=FIRST)
        made.train()
        ends.append((weights(made), made.log.path.read_text()))
    assert difference(ends[0][0], ends[1][0]) == 0
    assert ends[0][1] == ends[1][1]


def test_learning_rate_goes_on_along_the_longer_schedule(tmp_path):
    trainer(tmp_path, FIRST, schedule="cosine").train()
    made = trainer(tmp_path, ALL, schedule="cosine", continued_from=FIRST)
    made.train()
    rates = [line["learning_rate"] for line in read_metrics(made.log.path)]
    config: TrainConfig = made.config
    assert rates[:FIRST] == [learning_rate_at(step, FIRST, config) for step in range(FIRST)]
    assert rates[FIRST:] == [learning_rate_at(step, ALL, config) for step in range(FIRST, ALL)]
    assert rates[FIRST] > rates[FIRST - 1]


def test_patience_begins_anew(tmp_path):
    settings = {"train": {"patience": 1, "validate_every": 2, "learning_rate": 1e-12}}
    first = trainer(tmp_path, 20, **settings)
    first.train()
    ended = first.progress.step
    assert ended < 20
    without = trainer(tmp_path, 40, **settings)
    without.train()
    assert without.progress.step == ended  # its patience is still over
    continued = trainer(tmp_path, 40, continued_from=ended, **settings)
    continued.train()
    assert continued.progress.step > ended


def test_patience_of_a_continuation_is_resumed(tmp_path):
    trainer(tmp_path, 2, train={"validate_every": 2, "save_every": 2}).train()
    settings = {"validate_every": 2, "save_every": 2, "patience": 3, "learning_rate": 1e-12}
    cut = trainer(tmp_path, 40, continued_from=2, train=settings)
    cut_at(cut, 6)
    with pytest.raises(Cut):
        cut.train()
    waited = cut.progress.waited
    resumed = trainer(tmp_path, 40, continued_from=2, train=settings)
    resumed._resume()
    assert resumed.progress.waited == waited > 0


def test_best_weights_of_the_whole_training_are_kept(tmp_path):
    first = trainer(tmp_path, FIRST)
    metrics = first.train()
    continued = trainer(tmp_path, ALL, continued_from=FIRST, train={"learning_rate": 10.0})  # which makes it worse
    assert continued.train() == metrics | {"steps": ALL}
    assert difference(weights(continued), weights(first)) == 0


def test_training_that_a_limit_of_time_shortened_goes_on_at_full_length(tmp_path):
    first = trainer(tmp_path, FIRST, schedule="cosine")
    first.train()
    state, text = load_tensors(first.state_path)
    save_tensors(first.state_path, state, json.dumps(json.loads(text) | {"pace": [FIRST, 4, 8.0]}))
    continued = trainer(tmp_path, ALL, schedule="cosine", continued_from=FIRST)
    continued.train()
    assert continued.progress.step == ALL
    assert continued.progress.pace is None
    rates = [line["learning_rate"] for line in read_metrics(continued.log.path)][FIRST:]
    assert rates == [learning_rate_at(step, ALL, continued.config) for step in range(FIRST, ALL)]


def test_snapshot_that_was_taken_stays_and_a_missing_one_is_taken_later(tmp_path):
    first = trainer(tmp_path / "taken", FIRST, snapshot_step=4)
    first.train()
    continued = trainer(tmp_path / "taken", ALL, snapshot_step=12, continued_from=FIRST)
    continued.train()
    assert difference(continued.snapshot, first.snapshot) == 0
    early = trainer(tmp_path / "missing", FIRST, snapshot_step=FIRST + 1)
    early.train()
    assert early.snapshot == {}
    later = trainer(tmp_path / "missing", ALL, snapshot_step=12, continued_from=FIRST)
    later.train()
    assert later.snapshot


def test_small_last_batch_of_epochs_is_not_repeated(tmp_path):
    epochs = 20 / NUM_IMAGES  # batches of 8, 8 and 4 images
    trainer(tmp_path, 1, train={"epochs": epochs}).train()
    continued = trainer(tmp_path, 1, train={"epochs": 2 * epochs}, continued_from=3)
    continued.train()
    assert [line["step"] for line in read_metrics(continued.log.path)] == [1, 2, 3, 4, 5]
