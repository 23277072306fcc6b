"""A training with an adversary: the start, the result, guards, cuts, processes and micro-batches."""

import json
import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from combinations import combinations
from process_group import run_processes
from training_runs import (
    ADVERSARIAL,
    STEPS,
    Cut,
    at_step,
    cut_at,
    difference,
    make_trainer,
    train_in_group,
    weights,
)

from vqgen.errors import DataError
from vqgen.storage.tensors import load_tensors
from vqgen.training.metrics_log import read_metrics

START = ADVERSARIAL["adversarial_start"]
ALONE = {name: value for name, value in ADVERSARIAL.items() if name.startswith("perceptual")}


def opponent(trainer):
    return {name: tensor.clone() for name, tensor in trainer.opponent.state().items()}


# the start


def test_training_is_bit_for_bit_that_without_an_adversary_until_it_starts(tmp_path):
    with_adversary = make_trainer(tmp_path / "with", losses=ADVERSARIAL, noise=0.05)
    without = make_trainer(tmp_path / "without", losses=ALONE, noise=0.05)
    before = opponent(with_adversary)
    for step, other in zip(with_adversary.steps(), without.steps(), strict=True):
        assert step == other
        is_same = difference(weights(with_adversary), weights(without)) == 0
        moved = difference(opponent(with_adversary), before) if step <= START else 1.0
        # In the first step of the adversary its weight is 0, since no gradient has been measured.
        assert is_same == (step <= START + 1)
        assert (moved == 0) == (step <= START)
    lines = [read_metrics(trainer.log.path) for trainer in (with_adversary, without)]
    for one, other in zip(lines[0][:START], lines[1], strict=False):
        assert {name: one[name] for name in other if not name.startswith("val_")} == {
            name: value for name, value in other.items() if not name.startswith("val_")
        }
        assert {one[name] for name in ("adversarial", "discriminator", "penalties", "adaptive_weight")} == {0.0}


def test_fixed_weight_acts_in_the_first_step_of_the_adversary(tmp_path):
    fixed = make_trainer(tmp_path / "with", losses=ADVERSARIAL | {"adversarial_scale": "fixed"})
    without = make_trainer(tmp_path / "without", losses=ALONE)
    for step, _ in zip(fixed.steps(), without.steps(), strict=True):
        assert (difference(weights(fixed), weights(without)) == 0) == (step <= START)
    assert "adaptive_weight" not in read_metrics(fixed.log.path)[-1]


# the result


def test_last_weights_are_the_result(tmp_path):
    trainer = make_trainer(tmp_path, losses=ADVERSARIAL)
    values = [1.0, 2.0, 3.0]
    trainer.objective.validate = lambda: {"mse": values.pop(0)}
    last = None
    for _ in trainer.steps():
        last = weights(trainer)
    metrics = trainer.train()
    assert (metrics["best_step"], metrics["val_mse"]) == (STEPS, 3.0)
    assert difference(weights(trainer), last) == 0


def test_last_weights_are_the_result_of_a_training_with_more_steps(tmp_path):
    make_trainer(tmp_path, losses=ADVERSARIAL).train()
    longer = make_trainer(tmp_path, losses=ADVERSARIAL, train={"steps": 16}, continued_from=STEPS)
    assert longer.train()["best_step"] == 16


def test_adversary_makes_reconstructions_more_alike_to_its_eyes(tmp_path):
    """The decoder follows the gradient of the discriminator: with a fixed one its judgement rises."""
    settings = {"adversarial": "hinge", "adversarial_start": 0, "adversarial_scale": "fixed", "adversarial_weight": 5.0,
                "discriminator_channels": 8, "discriminator_layers": 1, "discriminator_rate": 1e-12}  # fmt: skip
    trainer = make_trainer(tmp_path, losses=settings, train={"steps": 30, "schedule": "constant"})
    trainer.train()
    lines = read_metrics(trainer.log.path)
    assert lines[-1]["adversarial"] < lines[0]["adversarial"] - 0.1


# guards


def test_discriminator_that_explodes_is_an_error(tmp_path):
    trainer = make_trainer(tmp_path, losses=ADVERSARIAL, train={"log_every": 1})
    adversary = trainer.objective.losses.adversary
    at_step(trainer, 7, lambda: adversary.discriminator.body[-1].bias.data.fill_(1e6))
    with pytest.raises(
        DataError, match=r"discriminator: should be finite and at most 10,000, found \S+ at step 8; low"
    ):
        trainer.train()
    assert json.loads(load_tensors(trainer.state_path)[1])["step"] == 4


def test_discriminator_that_is_not_finite_is_an_error(tmp_path):
    trainer = make_trainer(tmp_path, losses=ADVERSARIAL)
    adversary = trainer.objective.losses.adversary
    at_step(trainer, 9, lambda: adversary.discriminator.body[0].weight.data.fill_(math.nan))
    with pytest.raises(DataError, match=r"(loss|discriminator): should be finite.*found nan at step 10"):
        trainer.train()


# cut and resumed


FEATURES = {
    "adaptive": {"losses": ADVERSARIAL, "noise": 0.05},
    "fixed": {"losses": ADVERSARIAL | {"adversarial": "non-saturating", "adversarial_scale": "fixed"}},
    "micro-batches": {"losses": ADVERSARIAL, "train": {"micro_batches": 3, "ema_decay": 0.5}, "double": False},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    results = {}
    for name, settings in FEATURES.items():
        trainer = make_trainer(tmp_path_factory.mktemp(name), **settings)
        metrics = trainer.train()
        results[name] = load_tensors(trainer.state_path)[0], trainer.log.path.read_text(), metrics, weights(trainer)
    return results


@pytest.mark.parametrize(
    ("features", "cuts"), combinations(FEATURES, [[3], [5], [6], [9], [2, 6, 7, 10]], every=2), ids=str
)
def test_cut_training_ends_like_an_uninterrupted_one(tmp_path, uninterrupted, features, cuts):
    for cut in cuts:
        trainer = make_trainer(tmp_path, **FEATURES[features])
        cut_at(trainer, cut)
        with pytest.raises(Cut):
            trainer.train()
    trainer = make_trainer(tmp_path, **FEATURES[features])
    metrics = trainer.train()
    state, text, expected, result = uninterrupted[features]
    found = load_tensors(trainer.state_path)[0]
    assert found.keys() == state.keys()
    assert {"opponent.adaptive_weight", "opponent.averages", "opponent.discriminator.body.0.weight"} < found.keys()
    assert any(name.startswith("opponent-optimizer.0.exp_avg") for name in found)
    assert [name for name in state if not torch.equal(found[name], state[name])] == []
    assert trainer.log.path.read_text() == text
    assert metrics == expected
    assert difference(weights(trainer), result) == 0


# processes and micro-batches


def closest(one, other):
    def tensor(value):
        return torch.tensor(value, dtype=torch.float64)

    return max(float((tensor(one[name]) - tensor(other[name])).abs().max()) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(1, 2), pytest.param((1, 2, 3), marks=pytest.mark.slow)])
def test_processes_train_the_same_weights_on_both_sides(tmp_path, counts):
    # 92 = 11 * 8 + 4 images: the last batch is partial, and 8 does not divide by 3. Two parts of unequal size.
    train = {"epochs": 92 / 57, "micro_batches": 2}
    settings = {"losses": ADVERSARIAL, "vqvae": {"initialization": "random"}, "train": train}
    runs = {count: run_processes(count, train_in_group, str(tmp_path / str(count)), settings) for count in counts}
    reference = runs[1][0]
    assert reference["opponent"]["opponent.adaptive_weight"] > 0
    for count, ranks in runs.items():
        assert [rank["processes"] for rank in ranks] == [count] * count
        assert all(rank["weights"] == ranks[0]["weights"] for rank in ranks)
        assert all(rank["opponent"] == ranks[0]["opponent"] for rank in ranks), "discriminators of one run differ"
        assert closest(ranks[0]["weights"], reference["weights"]) < 1e-8
        assert closest(ranks[0]["opponent"], reference["opponent"]) < 1e-8
        for one, other in zip(ranks[0]["lines"], reference["lines"], strict=True):
            assert one == pytest.approx(other, abs=1e-8, rel=1e-8)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_micro_batches_equal_one_batch(tmp_path, parts):
    settings = {"losses": ADVERSARIAL, "vqvae": {"initialization": "random"}}
    whole = make_trainer(tmp_path / "1", **settings)
    cut = make_trainer(tmp_path / "2", **settings, train={"micro_batches": parts})
    whole.train()
    cut.train()
    assert difference(weights(whole), weights(cut)) < 1e-10
    assert difference(opponent(whole), opponent(cut)) < 1e-10


# bfloat16


def test_bfloat16_trains_both_sides_near_float32(tmp_path):
    plain = make_trainer(tmp_path / "float32", losses=ADVERSARIAL, double=False)
    plain.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    mixed = make_trainer(tmp_path / "bfloat16", losses=ADVERSARIAL, double=False, accelerator=accelerator)
    before = opponent(mixed)
    mixed.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    for one, other in zip(read_metrics(plain.log.path), read_metrics(mixed.log.path), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.1)
        assert one["discriminator"] == pytest.approx(other["discriminator"], rel=0.1, abs=0.05)
    assert difference(before, opponent(mixed)) > 0
    assert all(tensor.dtype == torch.float32 for name, tensor in opponent(mixed).items() if "optimizer" not in name)
