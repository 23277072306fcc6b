import math

import pytest
import torch
from tiny_models import make_prior
from torch import nn
from training_runs import make_trainer

from vqgen.config import TrainConfig
from vqgen.errors import ConfigError
from vqgen.training.optimization import check_compiler, learning_rate_at, make_optimizer


def rates(**settings):
    config = TrainConfig(**({"learning_rate": 2.0} | settings))
    return [learning_rate_at(step, 10, config) for step in range(10)]


def test_learning_rate_of_each_step_follows_the_schedule():
    assert rates(schedule="constant") == [2.0] * 10
    assert rates(schedule="constant", warmup_steps=4) == [0.5, 1.0, 1.5] + [2.0] * 7
    assert rates() == pytest.approx([1 + math.cos(math.pi * step / 10) for step in range(10)])
    assert rates(warmup_steps=2) == pytest.approx([1.0, 2.0] + [1 + math.cos(math.pi * step / 8) for step in range(8)])
    assert rates(warmup_steps=20) == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_weight_decay_applies_to_matrices_and_kernels_only():
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(3, 4),
            "linear": nn.Linear(4, 4),
            "norm": nn.LayerNorm(4),
            "conv": nn.Conv2d(1, 1, 3),
        }
    )
    model["linear"].bias.requires_grad_(False)
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.1, beta2=0.95, learning_rate=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {g["weight_decay"]: sorted(names[id(p)] for p in g["params"]) for g in optimizer.param_groups}
    assert groups == {
        0.1: ["conv.weight", "linear.weight"],
        0.0: ["conv.bias", "embedding.weight", "norm.bias", "norm.weight"],
    }
    assert optimizer.defaults["betas"] == (0.9, 0.95)


def test_embeddings_of_a_prior_do_not_decay_and_its_positions_do():
    prior = make_prior("bottom", mirror_conditioned=True)
    optimizer = make_optimizer(prior, TrainConfig(weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    of = {name: decays[id(p)] for name, p in prior.named_parameters()}
    assert (of["rows"], of["columns"]) == (0.1, 0.1)
    assert {decay for name, decay in of.items() if "embedding" in name} == {0.0}
    assert sum("embedding" in name for name in of) == 4  # codes, coarser codes, labels, mirrored


def test_model_of_one_kind_of_parameters_has_one_group():
    optimizer = make_optimizer(nn.Linear(2, 2, bias=False), TrainConfig(weight_decay=0.1))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1]


def test_compile_is_refused_without_a_working_compiler(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    text = r"compile: should be false if torch.compile does not work here, found true \(no working C\+\+ compiler\);"
    with pytest.raises(ConfigError, match=text + " install a C"):
        make_trainer(tmp_path, train={"compile": True})


def test_error_without_a_message_names_its_kind(monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ConfigError, match=r"found true \(RuntimeError\); leave it false"):
        check_compiler(torch.device("meta"))
