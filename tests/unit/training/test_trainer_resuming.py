import json
import os
import re
import signal

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from combinations import combinations
from training_runs import NUM_IMAGES, STEPS, Cut, at_step, cut_at, difference, make_trainer, weights

from vqgen.errors import CheckpointError, Interrupted
from vqgen.storage.tensors import load_tensors, save_tensors
from vqgen.training.metrics_log import read_metrics
from vqgen.training.state import seconds_of_training


def load_state(trainer):
    """Reads the saved tensors and the saved progress, without the time."""
    state, text = load_tensors(trainer.state_path)
    progress = json.loads(text)
    assert progress.pop("seconds") > 0
    return state, progress


# Cut and resumed

FEATURES = {
    "plain": {},
    "average": {"train": {"ema_decay": 0.9}, "noise": 0.05},
    "unquantized": {"train": {"ema_decay": 0.9}, "vqvae": {"quantize_after": 4}},
    "residual": {
        "train": {"ema_decay": 0.9},
        "vqvae": {
            "architecture": "residual",
            "upsampling": "nearest",
            "channel_multipliers": (1, 2),
            "attention_heads": 2,
        },
    },
    "micro-batches": {"train": {"micro_batches": 3, "ema_decay": 0.5}, "noise": 0.05},
    "float32": {"double": False, "noise": 0.05, "train": {"weight_decay": 0.1, "schedule": "constant"}},
    "snapshot": {"train": {"ema_decay": 0.9}, "noise": 0.05, "snapshot_step": 5},
    "partial": {"train": {"epochs": 92 / NUM_IMAGES}},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Runs with each set of features: final weights, saved state, saved progress, text of metrics.jsonl, metrics."""
    results = {}
    for name, settings in FEATURES.items():
        folder = tmp_path_factory.mktemp(name)
        trainer = make_trainer(folder, **settings)
        metrics = trainer.train()
        state, progress = load_state(trainer)
        results[name] = weights(trainer), state, progress, trainer.log.path.read_text(), metrics
        assert trainer.progress.step == STEPS
    return results


@pytest.mark.parametrize(
    ("features", "cuts"), combinations(FEATURES, [[0], [3], [4], [5], [9], [11], [2, 6, 7, 10]], every=3), ids=str
)
def test_cut_run_ends_like_an_uninterrupted_one(tmp_path, uninterrupted, features, cuts):
    for cut in cuts:
        trainer = make_trainer(tmp_path, **FEATURES[features])
        cut_at(trainer, cut)
        with pytest.raises(Cut):
            trainer.train()
        with trainer.log.path.open("a") as file:
            file.write('{"step": 99, "loss": 0.')  # what a kill in the middle of a write leaves
    trainer = make_trainer(tmp_path, **FEATURES[features])
    metrics = trainer.train()
    expected, expected_state, progress, lines, expected_metrics = uninterrupted[features]
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
    assert metrics == expected_metrics


def test_features_change_the_training(uninterrupted):
    states = {name: result[1] for name, result in uninterrupted.items()}
    assert any(key.startswith("average.") for key in states["average"])
    assert any(key.startswith("optimizer.0.exp_avg") for key in states["plain"])
    ends = {name: uninterrupted[name][0]["decoder.0.weight"].double() for name in FEATURES}
    for name in set(FEATURES) - {"plain"}:
        assert not torch.equal(ends[name], ends["plain"]), name


def test_state_without_averaged_statistics_goes_on_with_the_present_ones(tmp_path):
    """Versions before did not save them. The codebooks of the result then fit the averaged encoders soon again."""
    cut = make_trainer(tmp_path, train={"ema_decay": 0.9})
    cut_at(cut, 5)
    with pytest.raises(Cut):
        cut.train()
    state, text = load_tensors(cut.state_path)
    first = len(cut.parameters)
    kept = {name: tensor for name, tensor in state.items() if name not in {f"average.{first + n}" for n in range(4)}}
    assert len(kept) == len(state) - 4
    save_tensors(cut.state_path, kept, text)
    resumed = make_trainer(tmp_path, train={"ema_decay": 0.9})
    at_step(resumed, 4, lambda: found.extend(value.clone() for value in resumed.average.values))
    found = []
    resumed.train()
    names = [f"model.quantizers.{number}.ema_{name}" for number in (0, 1) for name in ("sums", "counts")]
    assert all(torch.equal(found[number], state[f"average.{number}"]) for number in range(first))
    assert all(torch.equal(found[first + number], state[name]) for number, name in enumerate(names))


def test_complete_run_is_not_trained_further(tmp_path):
    first = make_trainer(tmp_path)
    metrics = first.train()
    again = make_trainer(tmp_path)
    cut_at(again, STEPS)
    assert again.train() == metrics
    assert difference(weights(first), weights(again)) == 0


def test_failed_save_leaves_the_earlier_state(tmp_path, monkeypatch, uninterrupted):
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


def test_seconds_cover_all_sessions_but_no_lost_steps(tmp_path, monkeypatch):
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
    assert seconds_of_training(tmp_path) == 4  # the seconds of the steps in the saved state
    now[0] += 1000  # nobody trains
    for _ in range(2):  # the second time no step is left
        trainer = make_trainer(tmp_path)
        a_second_passes(trainer)
        now[0] += 50  # before the first step
        trainer.train()
        assert seconds_of_training(tmp_path) == STEPS


# The scale of the loss


def make_scaled_trainer(folder):
    """A trainer whose loss is scaled as in float16; the scale doubles after every three steps."""
    trainer = make_trainer(folder, train={"gradient_clip": 0.0})  # clipping would see scaled gradients
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
    trainer.accelerator.scaler = scaler
    trainer.optimizer = AcceleratedOptimizer(trainer.optimizer.optimizer, device_placement=False, scaler=scaler)
    return trainer


def test_scale_of_the_loss_is_resumed(tmp_path):
    whole = make_scaled_trainer(tmp_path / "whole")
    whole.train()
    cut = make_scaled_trainer(tmp_path / "cut")
    cut_at(cut, 5)  # the state of step 4: the scale has doubled once, after step 3
    with pytest.raises(Cut):
        cut.train()
    saved, _ = load_tensors(cut.state_path)
    assert (saved["scaler.scale"].item(), saved["scaler._growth_tracker"].item()) == (16.0, 1)
    resumed = make_scaled_trainer(tmp_path / "cut")
    resumed.train()
    assert whole.accelerator.scaler.state_dict()["scale"] == 8.0 * 2 ** (STEPS // 3)
    assert resumed.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
    assert difference(weights(resumed), weights(whole)) == 0


def test_state_without_a_scale_starts_with_a_new_one(tmp_path):
    first = make_trainer(tmp_path, train={"gradient_clip": 0.0})
    cut_at(first, 5)
    with pytest.raises(Cut):
        first.train()
    resumed = make_scaled_trainer(tmp_path)
    resumed.train()
    assert resumed.accelerator.scaler.state_dict()["scale"] == 8.0 * 2 ** ((STEPS - 4) // 3)


# A signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_its_step_and_stops(tmp_path, uninterrupted, number):
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
    cut_at(resumed, 5)  # raises if the run goes on from an earlier step
    resumed.train()
    assert difference(weights(resumed), uninterrupted["plain"][0]) == 0
    assert resumed.log.path.read_text() == uninterrupted["plain"][3]


# States that are refused


def test_state_of_another_model_is_refused_by_name(tmp_path):
    make_trainer(tmp_path).train()
    other = make_trainer(tmp_path, vqvae={"codebook_size": 8})
    text = re.escape("quantizers.0.codebook: should have shape (8, 4), found (24, 4)")
    with pytest.raises(CheckpointError, match=rf"training.safetensors: holds another model's weights:[\s\S]*{text}"):
        other.train()


@pytest.mark.parametrize("text", ["", "[]", '{"step": 1, "colour": "red"}'])
def test_file_that_is_not_a_training_state_is_refused(tmp_path, text):
    trainer = make_trainer(tmp_path)
    save_tensors(trainer.state_path, {"a": torch.zeros(1)}, text)
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is not a (training state|JSON file) .*--redo"):
        trainer.train()


def test_truncated_state_is_refused_by_name(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    content = trainer.state_path.read_bytes()
    trainer.state_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is damaged or cut short"):
        make_trainer(tmp_path).train()
