from functools import partial

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from combinations import combinations
from torch.amp.grad_scaler import GradScaler
from training_runs import STEPS, Cut, cut_at, difference, make_trainer, weights

from vqgen.storage.tensors import load_tensors


@pytest.fixture
def make_scaled(monkeypatch):
    """Builds accelerators that scale the loss as in float16 on a GPU; they compute on the CPU, in the model's dtype."""

    def build(**settings):
        monkeypatch.setattr(
            "vqgen.training.optimization.get_grad_scaler", lambda kind, **_: GradScaler("cpu", **settings)
        )
        accelerator = Accelerator(cpu=True, kwargs_handlers=[AutocastKwargs(enabled=False)])
        accelerator.native_amp = True
        monkeypatch.setitem(AcceleratorState._shared_state, "_mixed_precision", "fp16")
        accelerator.scaler = GradScaler("cpu", **settings)
        return accelerator

    return build


@pytest.mark.parametrize(("clip", "parts"), combinations([0.0, 1e-3, 0.05, 1e9], [1, 3], every=2))
def test_scale_of_the_loss_changes_no_clipped_gradient(tmp_path, make_scaled, clip, parts):
    train = {"gradient_clip": clip, "micro_batches": parts}
    plain = make_trainer(tmp_path / "plain", train=train)
    plain.train()
    scaled = make_trainer(tmp_path / "scaled", train=train, accelerator=make_scaled(init_scale=2.0**20))
    norms = []

    def norm(*arguments):
        norms.append(torch.stack([p.grad.norm() for p in scaled.parameters]).norm().item())

    scaled.optimizer.optimizer.register_step_pre_hook(norm)
    scaled.train()
    assert len(norms) == STEPS
    assert scaled.accelerator.scaler.get_scale() == 2.0**20  # so no step was skipped
    if clip == 1e-3:
        assert norms == pytest.approx([1e-3] * STEPS, rel=1e-2)
    assert difference(weights(plain), weights(scaled)) < 1e-12


# A scale that grows from training to training until gradients overflow, so that steps are skipped.
GROWING = {"init_scale": 2.0**100, "growth_factor": 2.0**7, "growth_interval": 4}


def test_training_after_another_one_equals_the_same_training_alone(tmp_path, make_scaled):
    make = partial(make_trainer, double=False, train={"save_every": 1})
    shared = make_scaled(**GROWING)
    make(tmp_path / "first", accelerator=shared).train()
    found = shared.scaler.get_scale()
    assert found != GROWING["init_scale"]
    after = make(tmp_path / "after", accelerator=shared)
    assert shared.scaler.get_scale() == GROWING["init_scale"]
    assert after.optimizer.scaler is shared.scaler
    after.train()
    alone = make(tmp_path / "alone", accelerator=make_scaled(**GROWING))
    alone.train()
    states = [load_tensors(trainer.state_path)[0] for trainer in (after, alone)]
    assert {"scaler.scale", "scaler._growth_tracker"} <= states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 6, 9])
def test_cut_training_goes_on_with_its_scale(tmp_path, make_scaled, cut):
    make = partial(make_trainer, double=False, train={"save_every": 1})
    whole = make(tmp_path / "whole", accelerator=make_scaled(**GROWING))
    whole.train()
    shared = make_scaled(**GROWING)
    first = make(tmp_path / "cut", accelerator=shared)
    cut_at(first, cut)
    with pytest.raises(Cut):
        first.train()
    again = make(tmp_path / "cut", accelerator=shared)
    again.train()
    states = [load_tensors(trainer.state_path)[0] for trainer in (whole, again)]
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
