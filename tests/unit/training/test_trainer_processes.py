import json
import os
import signal
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from process_group import run_processes
from training_runs import NUM_IMAGES, RESIDUAL, at_step, make_trainer, train_in_group

from vqgen.errors import Interrupted
from vqgen.storage.tensors import load_tensors


def interrupt_in_group(folder, step):
    trainer = make_trainer(folder, train={"log_every": 5})
    if trainer.accelerator.process_index == 1:
        at_step(trainer, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        trainer.train()
    except Interrupted as stop:
        return stop.signal_number, trainer.progress.step
    return None, trainer.progress.step


@pytest.mark.parametrize(
    ("step", "stops"), [(3, 5), *(pytest.param(step, 12, marks=pytest.mark.slow) for step in (10, 11))]
)
def test_signal_to_one_process_stops_all_processes(tmp_path, step, stops):
    found = run_processes(2, interrupt_in_group, tmp_path, step)
    assert found == [(signal.SIGTERM, stops)] * 2
    assert json.loads(load_tensors(tmp_path / "state" / "training.safetensors")[1])["step"] == stops


def closest(one, other):
    return max(
        float(
            (torch.tensor(one[name], dtype=torch.float64) - torch.tensor(other[name], dtype=torch.float64)).abs().max()
        )
        for name in one
    )


def losses(run):
    return torch.tensor([line["loss"] for line in run["lines"]], dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("double", "steps", "images_in_all", "tolerance"),
    [pytest.param(True, 50, 397, 1e-8, marks=pytest.mark.slow), (False, 20, 157, 1e-5)],
)
def test_one_two_and_three_processes_train_the_same_model(tmp_path, double, steps, images_in_all, tolerance):
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
        assert len(ranks[0]["lines"]) == steps
        assert all(rank["weights"] == ranks[0]["weights"] for rank in ranks), "processes of one run differ"
        assert all(rank["metrics"] == ranks[0]["metrics"] for rank in ranks)
        assert ranks[0]["restarts"] == reference["restarts"]
        assert {"quantizers.0.codebook", "quantizers.1.ema_counts", "quantizers.1.ema_sums"} <= ranks[0][
            "weights"
        ].keys()
        assert closest(ranks[0]["weights"], reference["weights"]) < tolerance
        assert (losses(ranks[0]) - losses(reference)).abs().max() < tolerance
        for name, value in reference["metrics"].items():
            assert ranks[0]["metrics"][name] == pytest.approx(value, abs=100 * tolerance)  # psnr is of the order of 10


def _save_on_a_full_disk(folder):
    trainer = make_trainer(Path(folder))

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with patch("vqgen.training.trainer.save_tensors", fail), pytest.raises(OSError, match="No space left") as caught:
        trainer.train()
    return trainer.progress.step, caught.value.errno


@pytest.mark.slow
def test_processes_end_together_if_the_first_one_cannot_save(tmp_path):
    assert run_processes(2, _save_on_a_full_disk, str(tmp_path)) == [(4, 28)] * 2


@pytest.mark.slow
def test_micro_batches_in_two_processes_equal_one_batch_in_one(tmp_path):
    settings = {"vqvae": {"initialization": "random"}, "train": {"epochs": 61 / NUM_IMAGES}}
    cut = settings | {"train": settings["train"] | {"micro_batches": 3}}
    (one,) = run_processes(1, train_in_group, str(tmp_path / "1"), settings)
    two = run_processes(2, train_in_group, str(tmp_path / "2"), cut)
    assert [rank["processes"] for rank in two] == [2, 2]
    assert closest(two[0]["weights"], one["weights"]) < 1e-10
    assert (losses(two[0]) - losses(one)).abs().max() < 1e-10


KINDS = [
    {"kind": "ema", "gradient": "rotation"},
    {"kind": "ema", "entropy_weight": 0.01},
    {"kind": "cosine"},
    {"kind": "cosine", "codebook": "learned"},
    {"kind": "simvq"},
    {"kind": "fsq"},
    {"kind": "lfq", "entropy_weight": 0.01},
    {"kind": "ema", "depth": [2, 3]},
    {"kind": "simvq", "depth": 2, "gradient": "rotation"},
    {"kind": "ema", "depth": [1, 2], "rate_weight": 0.7},
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_quantizers_of_every_kind_are_the_same_in_two_processes(tmp_path, kind):
    """In float64, with a partial last batch, restarts, averages, and images whose decoder misses the bottom level."""
    vqvae = {"quantizer": kind, "restart_after": 3, "codebook_size": 16}
    settings = {"hides": True, "vqvae": vqvae, "train": {"epochs": 157 / NUM_IMAGES, "ema_decay": 0.8}}
    (one,) = run_processes(1, train_in_group, str(tmp_path / "1"), settings)
    two = run_processes(2, train_in_group, str(tmp_path / "2"), settings)
    assert [rank["processes"] for rank in two] == [2, 2]
    assert two[0]["weights"] == two[1]["weights"]
    assert closest(two[0]["weights"], one["weights"]) < 1e-8
    assert (losses(two[0]) - losses(one)).abs().max() < 1e-8


@pytest.mark.slow
def test_residual_networks_with_all_options_are_the_same_in_two_processes(tmp_path):
    settings = {"vqvae": RESIDUAL, "train": {"epochs": 157 / NUM_IMAGES, "ema_decay": 0.8}}
    (one,) = run_processes(1, train_in_group, str(tmp_path / "1"), settings)
    two = run_processes(2, train_in_group, str(tmp_path / "2"), settings)
    assert two[0]["weights"] == two[1]["weights"]
    assert closest(two[0]["weights"], one["weights"]) < 1e-8
    assert (losses(two[0]) - losses(one)).abs().max() < 1e-8
