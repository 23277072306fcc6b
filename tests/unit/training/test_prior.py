import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch
from accelerate import Accelerator
from tiny_models import make_prior

from vqgen.codes import Codes
from vqgen.config import TrainConfig
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, finish_store, write_store
from vqgen.data.code_batches import CodeBatch
from vqgen.runtime.compute import Compute
from vqgen.training.micro_batches import split_batch, to_device
from vqgen.training.objective import Session
from vqgen.training.prior import PriorObjective, fit_prior, mean_nats_per_code

CPU64 = Compute.resolve("cpu", "float64")


@pytest.fixture
def store(tmp_path: Path) -> CodeStore:
    """Random codes of 24 training and 6 validation images with 3 labels."""

    def encode(split: str, span: range) -> ShardContent:
        torch.manual_seed(span.start)
        grids = {"top": torch.randint(16, (len(span), 2, 2)), "bottom": torch.randint(16, (len(span), 4, 4))}
        return ShardContent(Codes(grids), torch.arange(len(span)) % 3, tuple(map(str, span)))

    info = StoreInfo("hash", 16, LabelMap(), {"train": 24, "validation": 6}, {})
    write_store(tmp_path / "codes", info, encode)
    finish_store(tmp_path / "codes", info)
    return CodeStore(tmp_path / "codes")


def any_store() -> Any:
    """A store for tests that need none of its codes."""
    return create_autospec(CodeStore, instance=True)


def session(folder: Path) -> Session:
    return Session("prior-bottom", 0, Accelerator(cpu=True), folder, quiet=True)


@pytest.mark.parametrize(("most", "chosen"), [(3, [0, 3, 6]), (None, range(10)), (10, range(10)), (99, range(10))])
@torch.no_grad()
def test_nats_of_some_images_are_the_nats_of_an_even_choice(most, chosen):
    codes = Codes({"top": torch.randint(16, (10, 2, 2)), "bottom": torch.randint(16, (10, 4, 4))})
    labels = torch.randint(3, (10,))
    prior = CPU64.place(make_prior("bottom")).eval()
    store = any_store()
    store.info = StoreInfo("hash", 16, LabelMap(), {"train": 10}, {})
    store.batch.side_effect = lambda split, indices: (codes[torch.tensor(indices)], labels[torch.tensor(indices)])
    found = mean_nats_per_code(prior, store, "train", CPU64, most=most)
    some = torch.tensor(list(chosen))
    condition = prior.encode_condition(codes.top[some])
    expected = -prior.log_likelihood(codes.bottom[some], labels[some], condition).mean() / 16
    assert found == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_wrong_labels_add_the_label_contrast_to_the_nats(level):
    """Four images: two with a label and a wrong label, one whose label is dropped, one without a label."""
    prior = CPU64.place(make_prior(level, dropout=0.0, label_dropout=0.5, label_contrast=3.0))
    side = {"top": 2, "bottom": 4}[level]
    labels = torch.tensor([0, 2, 1, -1])
    wrong = torch.tensor([1, 0, 2, -1])
    codes = torch.randint(16, (4, side, side))
    uniforms = torch.tensor([0.6, 0.9, 0.1, 0.9])
    coarser = torch.randint(16, (4, 2, 2)) if level == "bottom" else None
    objective = PriorObjective(prior, any_store(), CPU64, 0, 1)
    rest = (codes, coarser, labels, uniforms, torch.zeros(4, dtype=torch.bool))
    loss, parts = objective(*rest, wrong)

    condition = prior.encode_condition(coarser)
    of_true = -prior.log_likelihood(codes, torch.tensor([0, 2, 3, -1]), condition)  # 3: the null label
    of_wrong = -prior.log_likelihood(codes, wrong, condition)
    contrast = sum(torch.log1p((of_true[i] - of_wrong[i]).exp()).item() for i in (0, 1)) / 4
    nats = of_true.mean().item() / side**2
    assert loss.item() == pytest.approx(nats + 3 * contrast / side**2, rel=1e-10)
    assert parts["nats_per_code"].item() == pytest.approx(nats, rel=1e-10)
    assert parts["label_contrast"].item() == pytest.approx(contrast, rel=1e-10)

    before, without = objective(*rest)  # a step before the contrast has metrics of the same names
    assert before.item() == pytest.approx(nats, rel=1e-10)
    assert without.keys() == parts.keys() and without["label_contrast"] == 0


def test_halves_of_a_batch_have_together_the_loss_of_the_whole():
    prior = CPU64.place(make_prior("bottom", dropout=0.0, label_contrast=1.0))
    objective = PriorObjective(prior, any_store(), CPU64, 0, 1)
    batch = CodeBatch(
        codes=torch.randint(16, (6, 4, 4)), coarser=torch.randint(16, (6, 2, 2)), labels=torch.tensor([0, 1, 2] * 2),
        uniforms=torch.rand(6), mirrored=torch.zeros(6, dtype=torch.bool), wrong_labels=torch.tensor([1, 2, 0] * 2),
    )  # fmt: skip
    whole = objective(*to_device(batch, torch.device("cpu")))[0].item()
    halves = [objective(*to_device(half, torch.device("cpu")))[0].item() for half in split_batch(batch, 2)]
    assert whole == pytest.approx(sum(halves) / 2, rel=1e-10)


def test_prior_without_label_contrast_has_no_metrics_beside_its_loss():
    prior = CPU64.place(make_prior("top"))
    objective = PriorObjective(prior, any_store(), CPU64, 0, 1)
    labels = torch.tensor([0, 1])
    _, parts = objective(torch.randint(16, (2, 2, 2)), None, labels, torch.rand(2), torch.zeros(2, dtype=torch.bool))
    assert parts == {}


def test_weights_are_chosen_among_those_that_contrast_labels(store, tmp_path, monkeypatch):
    """Half of eight steps contrast labels; validations get worse all the time, and patience is one."""
    nats = iter(range(1, 9))
    monkeypatch.setattr("vqgen.training.prior.mean_nats_per_code", lambda *arguments: float(next(nats)))
    config = make_prior("bottom", label_contrast=1.0, label_contrast_share=0.5).config
    train = TrainConfig(steps=8, batch_size=8, validate_every=1, patience=1)
    metrics = fit_prior(config, train, store, session(tmp_path / "contrast"), CPU64).metrics
    assert (metrics["best_step"], metrics["steps"]) == (5, 6)
    lines = [json.loads(line) for line in (tmp_path / "contrast" / "metrics.jsonl").read_text().splitlines()]
    assert [line["label_contrast"] > 0 for line in lines] == [False] * 4 + [True] * 2


DROPPING = {"dropout": 0.0, "code_dropout": 0.5, "coarser_dropout": 0.5, "rescale": False}


def test_first_steps_drop_codes_and_later_steps_see_all_codes_as_sampling_does():
    objective = PriorObjective(CPU64.place(make_prior("bottom", **DROPPING)), any_store(), CPU64, 0, 1, 3)
    inputs = (torch.randint(16, (6, 4, 4)), torch.randint(16, (6, 2, 2)), torch.tensor([0, 1, 2] * 2), torch.ones(6))
    losses = []
    for step in range(6):
        objective.begin_step(step, 0)
        losses.append(objective(*inputs, torch.zeros(6, dtype=torch.bool))[0].item())
    assert len(set(losses[:3])) == 3  # each step draws the codes that it drops
    assert len(set(losses[3:])) == 1
    in_sampling = objective.eval()(*inputs, torch.zeros(6, dtype=torch.bool))[0].item()
    assert losses[3] == in_sampling


def test_dropout_of_codes_ends_after_its_share_of_a_training(store, tmp_path):
    def losses(share: float, folder: Path) -> list[float]:
        config = make_prior("bottom", **DROPPING, input_dropout_share=share).config
        fit_prior(config, TrainConfig(steps=6, batch_size=8), store, session(folder), CPU64)
        return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    always = losses(1.0, tmp_path / "always")
    at_first = losses(0.5, tmp_path / "at first")
    assert at_first[:3] == always[:3]
    assert all(one != other for one, other in zip(at_first[3:], always[3:], strict=True))


def test_guide_is_the_prior_after_the_first_steps_and_does_not_change_the_training(store, tmp_path):
    config = make_prior("bottom").config
    train = TrainConfig(steps=4, batch_size=8, learning_rate=0.01)
    whole = fit_prior(config, train, store, session(tmp_path / "whole"), CPU64, guide_share=0.5)
    alone = fit_prior(config, train, store, session(tmp_path / "alone"), CPU64)
    assert alone.guide is None
    assert whole.guide is not None
    weights = whole.model.state_dict()
    guide = whole.guide.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in alone.model.state_dict().items())
    assert guide.keys() == weights.keys()
    assert not all(torch.equal(weights[name], tensor) for name, tensor in guide.items())


def test_guide_is_missing_if_the_training_ends_before_it(store, tmp_path):
    train = TrainConfig(steps=20, batch_size=8, validate_every=1, patience=1, learning_rate=1e-9, warmup_steps=0)
    fitted = fit_prior(make_prior("bottom").config, train, store, session(tmp_path / "prior"), CPU64, guide_share=0.95)
    assert fitted.metrics["steps"] < 19
    assert fitted.guide is None


def test_validation_has_nats_and_bits_per_code(store):
    prior = CPU64.place(make_prior("bottom")).eval()
    found = PriorObjective(prior, store, CPU64, 0, 1).validate()
    assert found["nats_per_code"] == mean_nats_per_code(prior, store, "validation", CPU64)
    assert found["bits_per_code"] == pytest.approx(found["nats_per_code"] / math.log(2))
