"""Trainings that begin with given weights: from the first step on, once, and with all promises of any other one."""

from functools import partial

import pytest
import torch
from process_group import run_processes
from training_runs import Cut, cut_at, difference, make_trainer, save_another, start_from, train_in_group, weights

from vqgen.storage.tensors import load_tensors

SETTINGS = {"train": {"ema_decay": 0.9}, "noise": 0.05, "snapshot_step": 5, "vqvae": {"quantize_after": 3}}


@pytest.fixture
def start(tmp_path):
    """A start from a saved model."""
    return partial(start_from, save_another(tmp_path / "another"))


def test_model_and_its_moving_average_begin_at_the_given_weights(tmp_path, start):
    trainer = make_trainer(tmp_path / "1", start=start, **SETTINGS)
    expected = make_trainer(tmp_path / "2", **SETTINGS).objective.model
    assert difference(weights(trainer), expected.state_dict()) > 0.1
    start(expected)
    assert [n for n, tensor in weights(trainer).items() if not torch.equal(tensor, expected.state_dict()[n])] == []
    parameters = list(expected.parameters())
    assert all(map(torch.equal, trainer.average.values, parameters))
    trained = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in trainer.objective.model.parameters()}


@pytest.mark.parametrize(("cuts", "starts"), [([0], 2), ([3], 2), ([4], 1), ([2, 6, 9], 2)], ids=str)
def test_cut_run_ends_like_an_uninterrupted_one_and_no_state_starts_again(tmp_path, start, cuts, starts):
    """A state is saved after every fourth step. A training that was cut before the first one begins anew."""
    started = []

    def watched(model):
        started.append(len(started))
        start(model)

    whole = make_trainer(tmp_path / "whole", start=start, **SETTINGS)
    metrics = whole.train()
    for cut in cuts:
        trainer = make_trainer(tmp_path / "parts", start=watched, **SETTINGS)
        cut_at(trainer, cut)
        with pytest.raises(Cut):
            trainer.train()
    trainer = make_trainer(tmp_path / "parts", start=watched, **SETTINGS)
    assert trainer.train() == metrics
    assert [name for name, tensor in weights(trainer).items() if not torch.equal(tensor, weights(whole)[name])] == []
    assert trainer.snapshot.keys() == whole.snapshot.keys()
    assert all(torch.equal(tensor, whole.snapshot[name]) for name, tensor in trainer.snapshot.items())
    state, expected = (load_tensors(each.state_path)[0] for each in (trainer, whole))
    assert [name for name in expected if not torch.equal(state[name], expected[name])] == []
    assert len(started) == starts


@pytest.mark.slow
def test_one_and_two_processes_train_the_same_model(tmp_path, start):
    settings = {"start": start, "train": {"validate_every": 6}}
    (one,) = run_processes(1, train_in_group, str(tmp_path / "1"), settings)
    two = run_processes(2, train_in_group, str(tmp_path / "2"), settings)
    assert [rank["processes"] for rank in two] == [2, 2]
    assert two[0]["weights"] == two[1]["weights"]
    for name, found in one["weights"].items():
        found, other = (torch.tensor(each, dtype=torch.float64) for each in (found, two[0]["weights"][name]))
        assert (found - other).abs().max() < 1e-8
