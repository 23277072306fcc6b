"""Runs that begin with the weights of another run, of other classes and sizes: sooner good, and as exact as any run."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from small_runs import (
    all_files,
    assert_refused,
    final_hashes,
    metrics,
    record,
    run_installed,
    small_document,
    start,
    wait_for,
    write_recipe,
)

from vqgen.models.checkpoint import load_model
from vqgen.models.vqvae import VQVAE

pytestmark = pytest.mark.slow

STAGES = ("vqvae", "prior-top", "prior-bottom", "classifier")

EACH = 60
"""Images of each class."""


def write_digits(root: Path, *classes: int) -> Path:
    """Writes digits of some classes into folders that have their names."""
    digits = load_digits()
    for label in classes:
        folder = root / str(label)
        folder.mkdir(parents=True)
        for number in np.flatnonzero(digits.target == label)[:EACH]:
            picture = Image.fromarray((digits.images[number] * 15).astype("uint8"))
            picture.resize((16, 16)).save(folder / f"{number}.png")
    return root


def document(name: str, root: Path, steps: int = 24) -> dict:
    """Builds the recipe of a run on a folder of digits, with a classifier."""
    made = small_document(vqvae__codebook_size=24) | {"name": name}
    made["data"] = {"source": "folder", "root": str(root), "image_size": 16, "channels": 1}
    made["vqvae"]["train"] |= {"steps": steps}
    for prior in made["priors"]:
        prior["train"] |= {"steps": steps, "learning_rate": 3e-3}
        prior["guide_share"] = 0.5
    made["classifier"] = {"channels": 8, "stages": 2, "train": made["vqvae"]["train"] | {"validate_every": 8}}
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with digits of five classes, and a run of them."""
    root = tmp_path_factory.mktemp("warm")
    recipe = write_recipe(root / "five.toml", document("five", write_digits(root / "five", 0, 1, 2, 3, 4), steps=160))
    finished = run_installed("run", recipe, "--checkpoints", root, "--quiet")
    assert finished.code == 0, finished.err
    return root


@pytest.fixture(scope="module")
def recipe(root):
    """The recipe of a run of three classes, two of which are new."""
    return write_recipe(root / "three.toml", document("three", write_digits(root / "three", 4, 7, 8)))


@pytest.fixture(scope="module")
def warm(root, recipe):
    """A run of three classes that began with the run of five, and the output of its command."""
    checkpoints = root / "warm"
    words = ("--checkpoints", checkpoints, "--init-from", root / "five", "--quiet", "--parallel-stages", 1)
    finished = run_installed("run", recipe, *words)
    assert finished.code == 0, finished.err
    return checkpoints / "three", finished.out


def test_run_of_other_classes_is_told_what_it_took(warm, root):
    run, out = warm
    assert f"  start    weights of {root / 'five'} for {', '.join(f'{stage} (all)' for stage in STAGES)}\n" in out
    for stage in STAGES:
        assert f"{stage}: begins with " in out
        sha256 = record(root / "five" / stage)["output"]
        assert record(run / stage)["inputs"]["init_from"] == sha256
        assert json.loads((run / stage / "model" / "config.json").read_text())["made_from"]["init_from"] == sha256
    assert "  label_embedding.weight: 16 of 32 numbers are of labels that are new\n" in out
    note = json.loads((run / "prior-top" / "init_from.json").read_text())
    assert note["labels"] == ["4"]
    assert f'init_from = "{root / "five"}"' in (run / "recipe.toml").read_text()
    assert "init_from" not in (run / "pipeline" / "recipe.toml").read_text()
    assert (run / "pipeline" / "guide-bottom").is_dir()
    assert f"--init-from {root / 'five'}" not in out
    assert "weights that fit of" in (run / "report.html").read_text()


def test_same_steps_reach_more_than_from_a_random_start(warm, recipe, tmp_path, vqgen):
    """On the same codes: the VQ-VAE of the warm run serves both."""
    run, _ = warm
    cold = shutil.copytree(run, tmp_path / "three")
    words = (recipe, "--checkpoints", tmp_path, "--quiet", "--redo")
    assert vqgen("train-prior", *words).code == 0
    assert vqgen("train-classifier", *words).code == 0
    for stage, metric in (
        ("prior-top", "val_nats_per_code"),
        ("prior-bottom", "val_nats_per_code"),
        ("classifier", "val_cross_entropy"),
    ):
        from_weights, from_random = (
            [line[metric] for line in metrics(each / stage) if metric in line] for each in (run, cold)
        )
        assert from_weights[0] < from_random[0]
    assert "init_from" not in record(cold / "prior-top")["inputs"]


def test_vqvae_is_as_good_at_once_as_the_run_that_it_began_with(warm, root):
    run, _ = warm
    first = next(line["val_mse"] for line in metrics(run / "vqvae") if "val_mse" in line)
    before = [line["val_mse"] for line in metrics(root / "five" / "vqvae") if "val_mse" in line]
    assert first < 1.1 * before[-1] < before[0]


@pytest.mark.parametrize("moment", ["vqvae/metrics.jsonl", "prior-top/state/training.safetensors"])
def test_killed_run_equals_an_uninterrupted_one(warm, root, recipe, tmp_path, moment):
    run, _ = warm
    words = ("run", recipe, "--checkpoints", tmp_path, "--init-from", root / "five", "--quiet", "--parallel-stages", 1)
    process = start(*words)
    try:
        wait_for(tmp_path / "three" / moment, process)
    finally:
        process.kill()
        process.communicate()
    finished = run_installed(*words)
    assert finished.code == 0, finished.err
    assert final_hashes(tmp_path / "three") == final_hashes(run)


def test_stages_side_by_side_begin_alike(warm, root, recipe, tmp_path):
    run, _ = warm
    words = ("--checkpoints", tmp_path, "--init-from", root / "five", "--quiet", "--parallel-stages", 2)
    finished = run_installed("run", recipe, *words, timeout=300)
    assert finished.code == 0, finished.err
    assert final_hashes(tmp_path / "three") == final_hashes(run)


def test_run_goes_on_by_its_own_recipe_after_the_checkpoint_is_gone(warm, vqgen, tmp_path):
    run, _ = warm
    moved = shutil.copytree(run, tmp_path / "three")
    text = (moved / "recipe.toml").read_text()
    (moved / "recipe.toml").write_text(text.replace("init_from = ", 'init_from = "gone" #'))
    before = all_files(moved / "prior-top")
    finished = vqgen("run", moved / "recipe.toml", "--checkpoints", tmp_path, "--more-steps", "vqvae=4", "--dry-run")
    assert_refused(finished, "checkpoint 'gone': there is no such folder")  # the priors would begin again
    finished = vqgen("run", moved / "recipe.toml", "--checkpoints", tmp_path, "--more-steps", "prior-bottom=8")
    assert finished.code == 0, finished.err
    assert len(metrics(moved / "prior-bottom")) == 32
    assert all_files(moved / "prior-top") == before


def test_two_processes_train_the_model_of_one(root, recipe, tmp_path):
    words = ("train-vqvae", recipe, "--init-from", root / "five", "--dtype", "float64", "--quiet")
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vqgen")
    one = run_installed(*words, "--checkpoints", tmp_path / "1")
    two = run_installed(*words, "--checkpoints", tmp_path / "2", launcher=launcher, timeout=300)
    assert (one.code, two.code) == (0, 0), one.err + two.err
    assert two.out.count("vqvae: begins with") == 1
    models = [load_model(tmp_path / each / "three" / "vqvae" / "model", VQVAE).state_dict() for each in ("1", "2")]
    for name, tensor in models[0].items():
        assert (tensor.double() - models[1][name].double()).abs().max() < 1e-8, name
    assert models[0]["decoder.0.weight"].dtype == torch.float64


def test_wrong_starts_are_refused_and_change_nothing(warm, root, recipe, vqgen, tmp_path):
    run, _ = warm
    copied = shutil.copytree(run, tmp_path / "three")
    before = all_files(copied)
    damaged = shutil.copytree(root / "five" / "pipeline", tmp_path / "damaged")
    weights = damaged / "prior-bottom" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    without = shutil.copytree(root / "five" / "pipeline", tmp_path / "without")
    shutil.rmtree(without / "classifier")
    text = json.loads((without / "pipeline.json").read_text())
    del text["sha256"]["classifier"]
    (without / "pipeline.json").write_text(json.dumps(text))
    new = ("--run-name", "new")
    other_sizes = ("--vqvae.channels", 12, "--vqvae.embedding-dim", 3)
    cases = [
        (("run", "--init-from", tmp_path / "nowhere", *new), ("nowhere': there is no such folder",)),
        (("run", "--init-from", root / "three", *new), ("holds no pipeline",)),
        (("run", "--init-from", damaged, *new), ("prior-bottom/model.safetensors: is damaged or cut short",)),
        (("train-classifier", "--init-from", without, *new), ("found none for classifier", "it has vqvae, prior-top")),
        (
            ("run", "--init-from", root / "five", *other_sizes, *new),
            ("nothing of vqvae", "channels: 8 -> 12"),
        ),
        (("run", "--init-from", root / "five", "--classifier.kind", "hidden-layer", *new), ("found a Classifier",)),
        (("run", "--init-from", copied), ("should be another run than the one that begins",)),
        (("run", "--init-from", without, "--parallel-stages", 1), ("init_from", "(absent)")),
        (("run",), ("init_from: ", "-> (absent)", "--init-from CHECKPOINT")),
    ]
    for (command, *options), parts in cases:
        assert_refused(vqgen(command, recipe, "--checkpoints", tmp_path, "--quiet", *options), *parts)
        assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())
    assert all_files(copied) == before
