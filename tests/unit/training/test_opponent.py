from pathlib import Path

import pytest
import torch
from torch import nn

from vqgen.config import TrainConfig
from vqgen.errors import CheckpointError
from vqgen.training.objective import Opponent
from vqgen.training.opponent import OpponentTraining


class Line(Opponent):
    betas = (0.5, 0.9)
    rate = 3.0

    def __init__(self, size=2):
        super().__init__()
        self.layer = nn.Linear(size, 1, bias=False).double()
        self.register_buffer("seen", torch.zeros(1))
        self.takes_part = True


def make(clip=0.0, **changes):
    torch.manual_seed(0)
    line = Line(**changes)
    return line, OpponentTraining(line, TrainConfig(gradient_clip=clip))


def push(line, gradient):
    line.layer.weight.grad = torch.tensor([gradient], dtype=torch.float64)


def test_step_is_that_of_adamw_with_its_own_rate_and_betas():
    line, training = make()
    twin = nn.Parameter(line.layer.weight.detach().clone())
    optimizer = torch.optim.AdamW([twin], lr=3.0 * 0.01, betas=(0.5, 0.9), weight_decay=0.0)
    for gradient in ([1.0, -2.0], [0.5, 4.0], [0.0, 1.0]):
        push(line, gradient)
        twin.grad = line.layer.weight.grad.clone()
        training.step(0.01)
        optimizer.step()
        torch.testing.assert_close(line.layer.weight.detach(), twin.detach(), rtol=1e-12, atol=0)
        assert line.layer.weight.grad is None


def test_gradient_is_clipped(monkeypatch):
    line, training = make(clip=1.0)
    push(line, [30.0, 40.0])
    norms = []
    real = training._optimizer.step
    monkeypatch.setattr(
        training._optimizer, "step", lambda: (norms.append(line.layer.weight.grad.norm().item()), real())
    )
    training.step(0.01)
    assert norms == pytest.approx([1.0], rel=1e-4)


def test_opponent_that_takes_no_part_stays_and_forgets_its_gradient():
    line, training = make()
    before = {name: tensor.clone() for name, tensor in training.state().items()}
    line.takes_part = False
    push(line, [1.0, 1.0])
    training.step(0.01)
    assert line.layer.weight.grad is None
    assert training.state().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.state().items())


def test_state_goes_on_exactly():
    line, training = make()
    push(line, [1.0, -2.0])
    training.step(0.01)
    line.seen.fill_(7.0)
    state = {name: tensor.clone() for name, tensor in training.state().items()} | {"model.weight": torch.zeros(9)}
    other, resumed = make()
    resumed.load(state, Path("state"))
    assert other.seen.item() == 7.0
    for each, each_training in ((line, training), (other, resumed)):
        push(each, [0.5, 1.0])
        each_training.step(0.02)
    assert torch.equal(line.layer.weight, other.layer.weight)


def test_state_of_another_opponent_is_refused():
    _, training = make()
    _, larger = make(size=3)
    with pytest.raises(CheckpointError, match=r"state: holds another model's weights"):
        larger.load(training.state(), Path("state"))
