"""Losses of stage one through the installed command: kills, processes, and refusals before anything trains."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from small_runs import (
    assert_refused,
    metrics,
    record,
    run_installed,
    small_document,
    start,
    write_recipe,
)

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "pretrained" / "digits"
START = 60
STEPS = 120


def document(**losses):
    chosen = {
        "perceptual": "classifier", "adversarial": "hinge", "adversarial_start": START, "discriminator_channels": 8,
        "discriminator_layers": 2, "r1_weight": 0.1, "r1_every": 4,
    }  # fmt: skip
    train = {"steps": STEPS, "batch_size": 16, "validate_every": 40, "save_every": 7, "log_every": 2}
    found = small_document(vqvae__losses=chosen | losses, vqvae__train=train)
    # Each process draws a dropout of its own, so the classifier has none.
    classifier = {"channels": 8, "stages": 2, "dropout": 0.0, "train": {"steps": 10, "batch_size": 16}}
    return found | {"classifier": classifier}


def wait_for_step(log: Path, step: int, process) -> None:
    """Waits until a training has logged a step."""
    end = time.monotonic() + 60
    while not (log.is_file() and len(log.read_text().splitlines()) >= step):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def train(stage: str, recipe: Path, root: Path, *words: object, launcher: tuple[str, ...] = ()) -> None:
    finished = run_installed(f"train-{stage}", recipe, "--checkpoints", root, *words, launcher=launcher)
    assert finished.code == 0, finished.err


@pytest.mark.slow
def test_training_killed_before_and_after_the_adversary_starts_equals_an_uninterrupted_one(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", document())
    train("classifier", recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    train("vqvae", recipe, tmp_path / "whole")
    for step in (20, START + 1, 100):
        process = start("train-vqvae", recipe, "--checkpoints", tmp_path / "cut")
        try:
            wait_for_step(tmp_path / "cut" / "tiny" / "vqvae" / "metrics.jsonl", step, process)
        finally:
            process.kill()
            process.communicate()
        assert not record(tmp_path / "cut" / "tiny" / "vqvae")["complete"]
    train("vqvae", recipe, tmp_path / "cut")
    one, other = (tmp_path / name / "tiny" for name in ("whole", "cut"))
    weights = (one / "vqvae" / "model" / "model.safetensors").read_bytes()
    assert weights == (other / "vqvae" / "model" / "model.safetensors").read_bytes()
    assert metrics(one / "vqvae") == metrics(other / "vqvae")
    states = [(run / "vqvae" / "state" / "training.safetensors").read_bytes() for run in (one, other)]
    assert len(states[0]) == len(states[1])  # they differ in the time that they took
    lines = metrics(one / "vqvae")
    assert [line["discriminator"] > 0 for line in lines] == [line["step"] > START for line in lines]
    assert list(one.glob("*.log")) == []


FEW_STEPS = ("--vqvae.train.steps", 24, "--vqvae.losses.adversarial-start", 8)


@pytest.mark.slow
def test_two_processes_train_with_an_adversary(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", document())
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vqgen")
    for name, words in (("one", {}), ("two", {"launcher": launcher})):
        for stage in ("classifier", "vqvae"):
            train(stage, recipe, tmp_path / name, *FEW_STEPS, "--dtype", "float64", **words)
    one, two = (metrics(tmp_path / name / "tiny" / "vqvae") for name in ("one", "two"))
    assert one[-1]["adaptive_weight"] > 0
    for mine, other in zip(one, two, strict=True):
        assert mine == pytest.approx(other, rel=1e-6, abs=1e-9)


@pytest.mark.slow
def test_losses_in_bfloat16(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", document(adversarial="non-saturating"))
    for stage in ("classifier", "vqvae"):
        train(stage, recipe, tmp_path, *FEW_STEPS, "--dtype", "bfloat16")
    assert metrics(tmp_path / "tiny" / "vqvae")[-1]["discriminator"] > 0


# refusals


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--vqvae.losses.perceptual", "lpips"], ["at least 31 x 31 pixels, found 16", "perceptual classifier"]),
        (["--vqvae.losses.perceptual", "lpips", "--data.image-size", "32"],
         ["alexnet-owt-7be5be79.pth", "--lpips-weights FILE", "--vqvae.losses.perceptual classifier"]),
        (["--vqvae.losses.perceptual", "lpips", "--data.image-size", "32", "--lpips-weights", "gone.pth"],
         ["lpips_weights", "'gone.pth'", "does not exist"]),
        (["--vqvae.losses.perceptual", "lpips", "--data.image-size", "32", "--lpips-weights", __file__],
         ["should hold the weights of AlexNet"]),
        (["--lpips-weights", "x.pth"], ["lpips_weights", 'perceptual = "lpips"']),
        (["--vqvae.losses.adversarial", "hinge", "--vqvae.losses.adversarial-start", "800"],
         ["adversarial_start", "start after the end", "found 800"]),
        (["--vqvae.losses.adversarial", "hinge", "--vqvae.train.epochs", "1", "--vqvae.losses.adversarial-start", "99"],
         ["adversarial_start", "start after the end", "found 99"]),
        (["--vqvae.losses.adversarial", "wasserstein"], ["'hinge'", "found 'wasserstein'"]),
        (["--vqvae.losses.adversarial", "hinge", "--vqvae.train.patience", "3"], ["vqvae.train.patience", "found 3"]),
        (["--vqvae.losses.perceptual-weight", "0"], ["perceptual_weight", "greater than 0", "found 0"]),
        (["--vqvae.losses.r1-weight", "inf"], ["r1_weight", "finite"]),
        (["--vqvae.losses.perceptual", "classifier", "--vqvae.losses.classifier", "nowhere"],
         ["'nowhere'", "no such folder"]),
        (["--vqvae.losses.perceptual", "classifier", "--data.channels", "3", "--vqvae.losses.classifier", SHIPPED],
         ["losses.classifier", "data.channels = 3", "found one with 1"]),
    ],
)  # fmt: skip
def test_losses_that_cannot_be_are_refused_before_anything_trains(vqgen, tmp_path, monkeypatch, words, parts):
    monkeypatch.setenv("TORCH_HOME", os.fspath(tmp_path / "torch"))  # an empty cache
    monkeypatch.chdir(tmp_path)
    assert_refused(vqgen("run", "digits", *words), *parts)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


def test_classifier_that_the_recipe_lacks_is_refused(vqgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = ["needs [classifier] in the recipe or vqvae.losses.classifier", "--vqvae.losses.classifier CHECKPOINT"]
    assert_refused(vqgen("run", "digits-vq", "--vqvae.losses.perceptual", "classifier"), *parts)
    assert_refused(vqgen("train-vqvae", "digits", "--vqvae.losses.perceptual", "classifier"), "vqgen train-classifier")
