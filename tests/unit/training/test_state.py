import json
import math

import pytest
import torch
from torch import nn
from training_runs import make_trainer

from vqgen.errors import CheckpointError
from vqgen.training.state import Progress, below, exact_number, load_moments, moments, seconds_of_training, state_path


def test_progress_comes_back_from_json(tmp_path):
    progress = Progress(step=3, best_value=0.1, best_metrics={"val_mse": 0.1}, seconds=2.5)
    assert Progress.read(json.dumps(vars(progress)), tmp_path) == progress
    assert Progress.read(json.dumps(vars(Progress())), tmp_path).best_value == math.inf


def test_progress_of_version_0_1_is_read(tmp_path):
    old = {"step": 3, "best_figures": {"val_mse": 0.1}}
    assert Progress.read(json.dumps(old), tmp_path) == Progress(step=3, best_metrics={"val_mse": 0.1})


def test_best_value_that_is_not_a_number_is_beaten_by_any_later_one(tmp_path):
    stored = Progress(step=3, best_value=math.nan, best_step=2).as_json()
    assert Progress.read(stored, tmp_path) == Progress(step=3, best_value=math.inf, best_step=2)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"step": 1, "colour": "red"}'])
def test_text_that_is_not_a_progress_is_refused(tmp_path, text):
    with pytest.raises(
        CheckpointError, match=r"state\.safetensors: is not a (training state|JSON file) \(.*\); .* with --redo"
    ):
        Progress.read(text, tmp_path / "state.safetensors")


@pytest.mark.parametrize("value", [0.1, 65536.0, 3, 2**62 + 1])
def test_exact_number_keeps_value_and_type(value):
    found = exact_number(value).item()
    assert (type(found), found) == (type(value), value)


def test_tensors_below_a_prefix_lose_it():
    one = torch.zeros(1)
    assert below({"a.b": one, "a.c.d": one, "ab.c": one, "b.a.": one}, "a.").keys() == {"b", "c.d"}


def trained(model, seed):
    """An optimizer of the model after two steps with random gradients."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        optimizer.step()
    return optimizer


def test_loaded_moments_continue_the_optimizer():
    one = nn.Conv2d(2, 3, 3)
    other = nn.Conv2d(2, 3, 3)
    saved = trained(one, seed=0)
    loaded = trained(other, seed=1)
    other.load_state_dict(one.state_dict())
    load_moments(loaded, {name: tensor.clone() for name, tensor in moments(saved).items()})
    assert moments(loaded).keys() == {f"{n}.{name}" for n in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    for optimizer, model in ((saved, one), (loaded, other)):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert torch.equal(one.weight, other.weight)


def test_loaded_moments_have_the_layout_of_their_weights(tmp_path):
    make_trainer(tmp_path, train={"steps": 4}).train()
    trainer = make_trainer(tmp_path)
    trainer._resume()
    state = trainer.optimizer.optimizer.state
    assert all(state[p]["exp_avg"].stride() == p.stride() for p in trainer.parameters)
    assert any(not p.is_contiguous() for p in trainer.parameters)


def test_folder_without_a_state_has_no_seconds(tmp_path):
    assert not state_path(tmp_path).exists()
    assert seconds_of_training(tmp_path) is None


def test_pace_of_a_shortened_training_returns_exactly(tmp_path):
    progress = Progress(step=3, pace=(40, 3, 1 / 3))
    assert Progress.read(progress.as_json(), tmp_path) == progress


def test_progress_of_a_training_of_full_length_has_the_keys_of_earlier_versions():
    assert list(json.loads(Progress().as_json())) == [
        *("step", "best_value", "best_step", "waited", "best_metrics", "seconds"),
    ]


def test_training_that_begins_again_forgets_why_it_ended():
    progress = Progress(step=7, best_value=0.5, best_step=3, waited=4, seconds=2.0, pace=(7, 2, 3.5))
    progress.begin_again()
    assert progress == Progress(step=7, best_value=0.5, best_step=3, waited=0, seconds=2.0, pace=None)
