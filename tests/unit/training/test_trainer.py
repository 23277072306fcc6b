import json
import math
import os
import re
import signal
import warnings
from dataclasses import dataclass

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from process_group import run_processes
from torch import nn
from training_runs import NUM_IMAGES, VQVAE_SETTINGS, images, make_trainer, train_in_group

from vqgen.config import TrainConfig
from vqgen.errors import CheckpointError, ConfigError, DataError, Interrupted
from vqgen.runtime.randomness import derive_seed
from vqgen.storage.tensors import load_tensors, save_tensors
from vqgen.training.metrics_log import MetricsLog, read_metrics
from vqgen.training.micro_batches import split_batch
from vqgen.training.objective import Objective
from vqgen.training.optimization import learning_rate_at, make_optimizer
from vqgen.training.state import seconds_of_training

STEPS = 12


class Cut(Exception):
    """Stands for a SIGKILL: nothing is saved on the way out."""


def cut_at(trainer, step):
    """Makes the trainer die in its step number `step`, counted from 0."""
    real = trainer.objective.begin_step

    def begin_step(now, seed):
        if now == step:
            raise Cut
        real(now, seed)

    trainer.objective.begin_step = begin_step


def at_step(trainer, step, act):
    """Calls `act` at the start of a step."""
    real = trainer.objective.begin_step

    def begin_step(now, seed):
        if now == step:
            act()
        real(now, seed)

    trainer.objective.begin_step = begin_step


def difference(one, other):
    """Largest difference of two runs' weights, codebooks included."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.objective.model.state_dict().items()}


def load_state(trainer):
    """The saved tensors, and the saved progress but for the time."""
    state, text = load_tensors(trainer.state_path)
    progress = json.loads(text)
    assert progress.pop("seconds") > 0
    return state, progress


# Cut and resumed

FEATURES = {
    "plain": {},
    "average": {"train": {"ema_decay": 0.9}, "noise": 0.05},
    "micro-batches": {"train": {"micro_batches": 3, "ema_decay": 0.5}, "noise": 0.05},
    "float32": {"double": False, "noise": 0.05, "train": {"weight_decay": 0.1, "schedule": "constant"}},
    "snapshot": {"train": {"ema_decay": 0.9}, "noise": 0.05, "snapshot_step": 5},
    "partial": {"train": {"epochs": 92 / NUM_IMAGES}},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """For each set of features: weights at the end, the state and progress saved there, metrics.jsonl, figures."""
    results = {}
    for name, settings in FEATURES.items():
        folder = tmp_path_factory.mktemp(name)
        trainer = make_trainer(folder, **settings)
        figures = trainer.train()
        state, progress = load_state(trainer)
        results[name] = weights(trainer), state, progress, trainer.log.path.read_text(), figures
        assert trainer.progress.step == STEPS
    return results


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("cuts", [[0], [3], [4], [5], [9], [11], [2, 6, 7, 10]], ids=str)
def test_a_cut_run_ends_as_if_it_had_never_stopped(tmp_path, uninterrupted, features, cuts):
    for cut in cuts:
        trainer = make_trainer(tmp_path, **FEATURES[features])
        cut_at(trainer, cut)
        with pytest.raises(Cut):
            trainer.train()
        with trainer.log.path.open("a") as file:
            file.write('{"step": 99, "loss": 0.')  # what a kill in the middle of a write leaves
    trainer = make_trainer(tmp_path, **FEATURES[features])
    figures = trainer.train()
    expected, expected_state, progress, lines, expected_figures = uninterrupted[features]
    assert [name for name, tensor in weights(trainer).items() if not torch.equal(tensor, expected[name])] == []
    state, found_progress = load_state(trainer)
    assert state.keys() == expected_state.keys()
    assert [name for name in state if not torch.equal(state[name], expected_state[name])] == []
    assert bool(trainer.snapshot) == (features == "snapshot")
    for name, tensor in trainer.snapshot.items():
        assert torch.equal(state[f"snapshot.{name}"], tensor)
    assert state["model.encoders.1.0.weight"].dtype == (torch.float32 if features == "float32" else torch.float64)
    assert found_progress == progress
    assert trainer.log.path.read_text() == lines
    assert [line["step"] for line in read_metrics(trainer.log.path)] == list(range(1, STEPS + 1))
    assert figures == expected_figures


def test_seconds_are_those_of_all_sessions_but_not_of_steps_that_were_lost(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("vqgen.training.trainer.time.perf_counter", lambda: now[0])

    def a_second_passes(trainer):
        real = trainer.objective.begin_step
        trainer.objective.begin_step = lambda step, seed: (now.__setitem__(0, now[0] + 1), real(step, seed))

    assert seconds_of_training(tmp_path) is None
    trainer = make_trainer(tmp_path)
    cut_at(trainer, 6)
    a_second_passes(trainer)
    with pytest.raises(Cut):
        trainer.train()
    assert seconds_of_training(tmp_path) == 4  # those of the saved state
    now[0] += 1000  # nobody trains
    for _ in range(2):  # the second time everything is done
        trainer = make_trainer(tmp_path)
        a_second_passes(trainer)
        now[0] += 50  # until it begins
        trainer.train()
        assert seconds_of_training(tmp_path) == STEPS


def test_the_features_are_really_at_work(uninterrupted):
    states = {name: result[1] for name, result in uninterrupted.items()}
    assert any(key.startswith("average.") for key in states["average"])
    assert any(key.startswith("optimizer.0.exp_avg") for key in states["plain"])
    ends = {name: uninterrupted[name][0]["decoder.0.weight"].double() for name in FEATURES}
    for name in set(FEATURES) - {"plain"}:
        assert not torch.equal(ends[name], ends["plain"]), name


def make_scaled_trainer(folder):
    """A trainer whose loss is scaled as in float16; the scale doubles after every three steps."""
    trainer = make_trainer(folder, train={"gradient_clip": 0.0})  # clipping is for gradients that are unscaled
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    trainer.accelerator.scaler = scaler
    trainer.optimizer = AcceleratedOptimizer(trainer.optimizer.optimizer, device_placement=False, scaler=scaler)
    return trainer


def test_the_scale_of_the_loss_goes_on_where_it_was(tmp_path):
    whole = make_scaled_trainer(tmp_path / "whole")
    whole.train()
    cut = make_scaled_trainer(tmp_path / "cut")
    cut_at(cut, 5)  # the state of step 4: doubled once, and one step on the way to the next time
    with pytest.raises(Cut):
        cut.train()
    saved, _ = load_tensors(cut.state_path)
    assert (saved["scaler.scale"].item(), saved["scaler._growth_tracker"].item()) == (16.0, 1)
    resumed = make_scaled_trainer(tmp_path / "cut")
    resumed.train()
    assert whole.accelerator.scaler.state_dict()["scale"] == 8.0 * 2 ** (STEPS // 3)
    assert resumed.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
    assert difference(weights(resumed), weights(whole)) == 0


def test_a_state_without_a_scale_begins_with_a_new_one(tmp_path):
    first = make_trainer(tmp_path, train={"gradient_clip": 0.0})
    cut_at(first, 5)
    with pytest.raises(Cut):
        first.train()
    resumed = make_scaled_trainer(tmp_path)
    resumed.train()
    assert resumed.accelerator.scaler.state_dict()["scale"] == 8.0 * 2 ** ((STEPS - 4) // 3)


def test_a_run_that_is_complete_is_not_trained_further(tmp_path):
    first = make_trainer(tmp_path)
    figures = first.train()
    again = make_trainer(tmp_path)
    cut_at(again, STEPS)
    assert again.train() == figures
    assert difference(weights(first), weights(again)) == 0


def test_a_save_that_fails_leaves_the_state_before_it(tmp_path, monkeypatch, uninterrupted):
    trainer = make_trainer(tmp_path)

    def fail(*arguments, **keywords):
        raise Cut

    at_step(trainer, 7, lambda: monkeypatch.setattr("vqgen.storage.tensors.save_file", fail))
    with pytest.raises(Cut):
        trainer.train()
    monkeypatch.undo()
    assert json.loads(load_tensors(trainer.state_path)[1])["step"] == 4
    resumed = make_trainer(tmp_path)
    resumed.train()
    assert difference(weights(resumed), uninterrupted["plain"][0]) == 0


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_it_came_in_and_stops(tmp_path, uninterrupted, number):
    before = signal.getsignal(number)
    trainer = make_trainer(tmp_path)
    at_step(trainer, 5, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert caught.value.signal_number == number
    assert signal.getsignal(number) == before
    assert json.loads(load_tensors(trainer.state_path)[1])["step"] == 6
    assert [line["step"] for line in read_metrics(trainer.log.path)] == [1, 2, 3, 4, 5, 6]
    resumed = make_trainer(tmp_path)
    cut_at(resumed, 5)  # would be raised if it went on from an earlier step
    resumed.train()
    assert difference(weights(resumed), uninterrupted["plain"][0]) == 0
    assert resumed.log.path.read_text() == uninterrupted["plain"][3]


def interrupt_in_group(folder, step):
    trainer = make_trainer(folder, train={"log_every": 5})
    if trainer.accelerator.process_index == 1:
        at_step(trainer, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        trainer.train()
    except Interrupted as stop:
        return stop.signal_number, trainer.progress.step
    return None, trainer.progress.step


@pytest.mark.parametrize(("step", "stops"), [(3, 5), (10, 12), (11, 12)])
def test_a_signal_to_one_process_stops_all_of_them(tmp_path, step, stops):
    found = run_processes(2, interrupt_in_group, tmp_path, step)
    assert found == [(signal.SIGTERM, stops)] * 2
    assert json.loads(load_tensors(tmp_path / "state" / "training.safetensors")[1])["step"] == stops


# One, two and three processes


def closest(one, other):
    return max(
        float(
            (torch.tensor(one[name], dtype=torch.float64) - torch.tensor(other[name], dtype=torch.float64)).abs().max()
        )
        for name in one
    )


def losses(run):
    return torch.tensor([line["loss"] for line in run["metrics"]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("double", "steps", "images_in_all", "tolerance"), [(True, 50, 397, 1e-8), (False, 20, 157, 1e-5)]
)
def test_one_two_and_three_processes_train_the_same(tmp_path, double, steps, images_in_all, tolerance):
    # 397 = 49 * 8 + 5 and 157 = 19 * 8 + 5 images: the last batch is partial, and 8 and 5 do not divide by 3.
    settings = {
        "double": double, "train": {"epochs": images_in_all / NUM_IMAGES, "validate_every": 10, "save_every": 25},
    }  # fmt: skip
    runs = {count: run_processes(count, train_in_group, str(tmp_path / str(count)), settings) for count in (1, 2, 3)}
    reference = runs[1][0]
    assert reference["restarts"] > 0
    assert runs[1][0]["shares"] == [8] * (steps - 1) + [5]
    assert [rank["shares"][0] for rank in runs[3]] == [2, 3, 3]
    assert [rank["shares"][-1] for rank in runs[3]] == [1, 2, 2]
    for count, ranks in runs.items():
        assert [rank["processes"] for rank in ranks] == [count] * count
        assert len(ranks[0]["metrics"]) == steps
        assert all(rank["weights"] == ranks[0]["weights"] for rank in ranks), "processes of one run differ"
        assert all(rank["figures"] == ranks[0]["figures"] for rank in ranks)
        assert ranks[0]["restarts"] == reference["restarts"]
        assert {"quantizers.0.codebook", "quantizers.1.ema_counts", "quantizers.1.ema_sums"} <= ranks[0][
            "weights"
        ].keys()
        assert closest(ranks[0]["weights"], reference["weights"]) < tolerance
        assert (losses(ranks[0]) - losses(reference)).abs().max() < tolerance
        for name, value in reference["figures"].items():
            assert ranks[0]["figures"][name] == pytest.approx(value, abs=100 * tolerance)  # psnr is of the order of 10


def test_micro_batches_in_two_processes_are_one_batch_in_one(tmp_path):
    settings = {"vqvae": {"initialization": "random"}, "train": {"epochs": 61 / NUM_IMAGES}}
    cut = settings | {"train": settings["train"] | {"micro_batches": 3}}
    (one,) = run_processes(1, train_in_group, str(tmp_path / "1"), settings)
    two = run_processes(2, train_in_group, str(tmp_path / "2"), cut)
    assert [rank["processes"] for rank in two] == [2, 2]
    assert closest(two[0]["weights"], one["weights"]) < 1e-10
    assert (losses(two[0]) - losses(one)).abs().max() < 1e-10


# What a step does


@pytest.mark.parametrize("parts", [2, 3, 8, 20])
@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-12), (False, 1e-6)])  # of the losses; weights add up
def test_micro_batches_are_one_batch(tmp_path, parts, double, tolerance):
    settings = {"vqvae": {"initialization": "random"}, "double": double}
    whole = make_trainer(tmp_path / "1", **settings)
    cut = make_trainer(tmp_path / "2", **settings, train={"micro_batches": parts})
    whole.train()
    cut.train()
    assert difference(weights(whole), weights(cut)) < 10 * tolerance
    for one, other in zip(read_metrics(whole.log.path), read_metrics(cut.log.path), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=tolerance)


@dataclass
class Some:
    images: torch.Tensor
    nothing: None
    names: list[str]


@pytest.mark.parametrize(("parts", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (4, [2, 2, 1]), (9, [1] * 5)])
def test_a_batch_is_cut_in_order_and_no_part_is_empty(parts, sizes):
    batch = Some(torch.arange(5), None, list("abcde"))
    cut = split_batch(batch, parts)
    assert [len(part.images) for part in cut] == sizes
    assert torch.cat([part.images for part in cut]).tolist() == [0, 1, 2, 3, 4]
    assert [name for part in cut for name in part.names] == list("abcde")
    assert all(part.nothing is None for part in cut)


def test_the_first_step_is_adamws_own(tmp_path):
    trainer = make_trainer(tmp_path, train={"steps": 1, "gradient_clip": 0.0, "warmup_steps": 0, "weight_decay": 0.1})
    batch = next(trainer.batches.steps(0))
    before = {name: p.detach().clone() for name, p in trainer.objective.model.named_parameters()}
    twin = make_trainer(tmp_path / "twin")
    twin.objective.begin_step(0, derive_seed(0, "vqvae", 0))
    twin.objective(batch.images, batch.positions)[0].backward()
    trainer.train()
    for (name, p), (_, q) in zip(
        trainer.objective.model.named_parameters(), twin.objective.model.named_parameters(), strict=True
    ):
        decay = 0.1 if q.ndim > 1 else 0.0
        # after one step both moments are the gradient's own: AdamW moves by its sign
        expected = before[name] * (1 - 2e-3 * decay) - 2e-3 * q.grad / (q.grad.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-9)


def test_weight_decay_is_for_matrices_and_kernels_alone():
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


@pytest.mark.slow
def test_a_compiled_run_is_the_same_but_for_rounding_and_keeps_the_names(tmp_path):
    plain = make_trainer(tmp_path / "1", train={"steps": 5})
    compiled = make_trainer(tmp_path / "2", train={"steps": 5, "compile": True})
    plain.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about its own internals
        compiled.train()
    assert compiled.objective.model.decoder._compiled_call_impl is not None
    assert difference(weights(plain), weights(compiled)) < 1e-10
    assert weights(plain).keys() == weights(compiled).keys()


def test_where_nothing_compiles_the_option_is_refused(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    text = r"compile: should be false where torch.compile does not work, found true \(no working C\+\+ compiler\);"
    with pytest.raises(ConfigError, match=text + " install a C"):
        make_trainer(tmp_path, train={"compile": True})


def test_moments_lie_in_memory_as_their_weights_do_after_a_restart(tmp_path):
    make_trainer(tmp_path, train={"steps": 4}).train()
    trainer = make_trainer(tmp_path)
    trainer._resume()
    state = trainer.optimizer.optimizer.state
    assert all(state[p]["exp_avg"].stride() == p.stride() for p in trainer.parameters)
    assert any(not p.is_contiguous() for p in trainer.parameters)


def test_a_gradient_is_clipped_to_its_norm(tmp_path):
    norms = []
    trainer = make_trainer(tmp_path, train={"steps": 3, "gradient_clip": 1e-3})
    real = trainer.optimizer.step

    def step(*arguments):
        norms.append(torch.stack([p.grad.norm() for p in trainer.parameters]).norm().item())
        return real(*arguments)

    trainer.optimizer.step = step
    trainer.train()
    assert norms == pytest.approx([1e-3] * 3, rel=1e-2)


def test_the_moving_average_is_a_naive_loop_and_is_what_is_judged_and_kept(tmp_path):
    trainer = make_trainer(tmp_path, train={"ema_decay": 0.6, "steps": 8, "validate_every": 8})
    average = [p.detach().clone() for p in trainer.parameters]
    real, real_validate, judged, raw = trainer.objective.end_step, trainer.objective.validate, [], []

    def end_step():
        real()
        for a, p in zip(average, trainer.parameters, strict=True):
            decay = min(0.6, (1 + trainer.progress.step) / (10 + trainer.progress.step))
            a.copy_(decay * a + (1 - decay) * p.detach())
        raw[:] = [p.detach().clone() for p in trainer.parameters]

    def validate():
        judged[:] = [p.detach().clone() for p in trainer.parameters]
        return real_validate()

    trainer.objective.end_step, trainer.objective.validate = end_step, validate
    trainer.train()
    for a, j, kept, r in zip(average, judged, trainer.parameters, raw, strict=True):
        torch.testing.assert_close(j, a, rtol=0, atol=1e-12)
        assert torch.equal(kept, j)
        assert not torch.equal(kept, r)


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_a_snapshot_has_the_weights_of_its_step_and_changes_no_training(tmp_path, decay):
    train = {"ema_decay": decay, "steps": 6, "validate_every": 2}
    trainer = make_trainer(tmp_path / "with", train=train, noise=0.05, snapshot_step=3)
    other = make_trainer(tmp_path / "without", train=train, noise=0.05)
    at_step, now = [], other.steps()
    for step in now:
        if step == 3:
            model = other.objective.model
            at_step = [value.clone() for value in other.average or other.parameters]
            buffers = {name: value.clone() for name, value in model.named_buffers()}
    for step in trainer.steps():
        assert bool(trainer.snapshot) == (step >= 3)
    names = [name for name, p in trainer.objective.model.named_parameters() if p.requires_grad]
    for name, expected in zip(names, at_step, strict=True):
        assert torch.equal(trainer.snapshot[name], expected)
    assert trainer.snapshot.keys() == trainer.objective.model.state_dict().keys()
    for name, expected in buffers.items():
        assert torch.equal(trainer.snapshot[name], expected)
    for one, same in zip(trainer.parameters, other.parameters, strict=True):
        assert torch.equal(one, same)
    assert not other.snapshot


def test_eight_images_can_be_learned_by_heart(tmp_path):
    trainer = make_trainer(
        tmp_path, double=False, vqvae={"channels": 16, "residual_channels": 8, "codebook_size": 64},
        train={"steps": 250, "learning_rate": 5e-3, "validate_every": 250, "save_every": 1000},
    )  # fmt: skip
    eight = images()[:8].float()
    trainer.batches.images = eight[torch.arange(NUM_IMAGES) % 8]
    trainer.train()
    lines = read_metrics(trainer.log.path)
    assert lines[0]["reconstruction"] > 0.1
    assert lines[-1]["reconstruction"] < 0.01


# Validation, patience, best weights


def scripted(trainer, values):
    """Lets validations find these values; returns the weights that each judged."""
    judged, remaining = [], list(values)

    def validate():
        judged.append(weights(trainer))
        return {"mse": remaining.pop(0), "other": 7.0}

    trainer.objective.validate = validate
    return judged


def test_the_best_weights_are_kept_with_their_figures(tmp_path):
    trainer = make_trainer(tmp_path)
    judged = scripted(trainer, [3.0, 1.0, 2.0])
    assert trainer.train() == {"val_mse": 1.0, "val_other": 7.0, "best_step": 8, "steps": 12}
    assert difference(weights(trainer), judged[1]) == 0
    assert difference(weights(trainer), judged[2]) > 0
    assert not trainer.objective.training
    lines = read_metrics(trainer.log.path)
    assert {line["step"]: line["val_mse"] for line in lines if "val_mse" in line} == {4: 3.0, 8: 1.0, 12: 2.0}


@pytest.mark.parametrize(
    ("patience", "values", "steps", "best"),
    [
        (1, [1.0, 2.0], 8, 4),
        (2, [3.0, 1.0, 2.0, 1.0], 16, 8),  # no better is as good as worse
        (2, [3.0, 4.0, 2.0, 4.0, 1.0, 2.0], 24, 20),
        (0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 24, 4),
        (2, [math.nan, math.nan, math.nan], 12, 4),
    ],
)
def test_patience(tmp_path, patience, values, steps, best):
    trainer = make_trainer(tmp_path, train={"steps": 24, "patience": patience})
    judged = scripted(trainer, values)
    figures = trainer.train()
    assert (figures["steps"], figures["best_step"]) == (steps, best)
    assert difference(weights(trainer), judged[best // 4 - 1]) == 0
    again = make_trainer(tmp_path, train={"steps": 24, "patience": patience})
    cut_at(again, steps)
    assert again.train()["best_step"] == best
    assert difference(weights(trainer), weights(again)) == 0


def test_the_last_step_is_always_validated(tmp_path):
    trainer = make_trainer(tmp_path, train={"steps": 5, "validate_every": 100, "save_every": 100, "log_every": 100})
    figures = trainer.train()
    assert figures["best_step"] == 5
    assert "val_mse" in read_metrics(trainer.log.path)[-1]


def test_validation_changes_nothing_that_trains(tmp_path):
    often = make_trainer(tmp_path / "1", train={"ema_decay": 0.9, "validate_every": 1})
    seldom = make_trainer(tmp_path / "2", train={"ema_decay": 0.9, "validate_every": 12})
    often.train()
    seldom.train()
    states = [load_tensors(trainer.state_path)[0] for trainer in (often, seldom)]
    for name in states[0]:
        if not name.startswith("best."):
            assert torch.equal(states[0][name], states[1][name]), name


# Learning rate


def rates(**settings):
    config = TrainConfig(**({"learning_rate": 2.0} | settings))
    return [learning_rate_at(step, 10, config) for step in range(10)]


def test_the_learning_rate_of_each_step():
    assert rates(schedule="constant") == [2.0] * 10
    assert rates(schedule="constant", warmup_steps=4) == [0.5, 1.0, 1.5] + [2.0] * 7
    assert rates() == pytest.approx([1 + math.cos(math.pi * step / 10) for step in range(10)])
    assert rates(warmup_steps=2) == pytest.approx([1.0, 2.0] + [1 + math.cos(math.pi * step / 8) for step in range(8)])
    assert rates(warmup_steps=20) == pytest.approx([0.1 * (step + 1) for step in range(10)])


def test_the_optimizer_gets_the_rate_and_the_log_tells_it(tmp_path):
    trainer = make_trainer(tmp_path)
    seen = []
    real = trainer.objective.end_step
    trainer.objective.end_step = lambda: (seen.append(trainer.optimizer.param_groups[0]["lr"]), real())
    trainer.train()
    expected = [learning_rate_at(step, STEPS, trainer.config) for step in range(STEPS)]
    assert seen == expected
    assert [line["learning_rate"] for line in read_metrics(trainer.log.path)] == expected


# Errors, and when figures leave the device


def test_a_loss_that_is_not_finite_is_an_error_and_saves_nothing(tmp_path):
    trainer = make_trainer(tmp_path, train={"log_every": 1})

    def spoil():
        with torch.no_grad():
            trainer.parameters[0].fill_(math.nan)

    at_step(trainer, 6, spoil)
    with pytest.raises(DataError, match="loss: should be finite, found nan at step 7; lower learning_rate"):
        trainer.train()
    assert json.loads(load_tensors(trainer.state_path)[1])["step"] == 4
    assert [line["step"] for line in read_metrics(trainer.log.path)] == [1, 2, 3, 4, 5, 6]


def test_figures_leave_the_device_only_to_be_written(tmp_path, monkeypatch):
    trainer = make_trainer(
        tmp_path, train={"steps": 30, "log_every": 12, "validate_every": 20, "save_every": 7}
    )  # fmt: skip
    flushed, real = [], MetricsLog.flush

    def flush(log):
        if log._waiting:
            flushed.append(trainer.progress.step)
        return real(log)

    monkeypatch.setattr(MetricsLog, "flush", flush)
    trainer.train()
    assert flushed == [7, 12, 14, 20, 21, 24, 28, 30]


def test_the_state_of_another_model_is_refused_by_name(tmp_path):
    make_trainer(tmp_path).train()
    other = make_trainer(tmp_path, vqvae={"codebook_size": 8})
    text = re.escape("quantizers.0.codebook: should have shape (8, 4), found (24, 4)")
    with pytest.raises(CheckpointError, match=rf"training.safetensors: holds another model's weights:[\s\S]*{text}"):
        other.train()


@pytest.mark.parametrize("text", ["", "[]", '{"step": 1, "colour": "red"}'])
def test_what_is_no_training_state_is_refused(tmp_path, text):
    trainer = make_trainer(tmp_path)
    save_tensors(trainer.state_path, {"a": torch.zeros(1)}, text)
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is no training state .*--redo"):
        trainer.train()


def test_a_cut_state_is_refused_by_name(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    content = trainer.state_path.read_bytes()
    trainer.state_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is damaged or cut short"):
        make_trainer(tmp_path).train()


def test_an_objective_has_to_say_how_it_is_judged():
    with pytest.raises(TypeError, match="Objective should define validate"):
        Objective().validate()


def test_a_run_makes_no_warnings(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trainer(tmp_path, double=False, train={"micro_batches": 2, "ema_decay": 0.9}).train()
    assert VQVAE_SETTINGS["restart_after"] < STEPS
