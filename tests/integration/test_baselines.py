"""Runs of the baselines: the same stages, folders, pictures and metrics as a model of codes."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from small_baselines import CLASSIFIER, KINDS, baseline_document
from small_runs import all_files, assert_refused, final_hashes, metrics, pixels, save_picture, write_recipe

from vqgen import BaselinePipeline, VQGenPipeline, open_pipeline
from vqgen.cli import main
from vqgen.errors import CheckpointError, Interrupted
from vqgen.evaluation.judge.real_images import open_real_images
from vqgen.training.trainer import Trainer

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs


@pytest.fixture(scope="session")
def baselines(tmp_path_factory) -> Path:
    """The folder of a run of every kind, with a classifier except for `vae-2d`."""
    root = tmp_path_factory.mktemp("baselines")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for name in KINDS:
        sections = {} if name == "vae-2d" else {"classifier": CLASSIFIER}
        recipe = write_recipe(root / f"{name}.toml", baseline_document(name, **sections))
        assert main(["run", str(recipe), "--checkpoints", str(root), "--quiet"]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return root


def test_mixtures_are_fitted_to_the_latents_of_the_training_images(baselines):
    pipe = open_pipeline(baselines / "autoencoder", device="cpu")
    train = open_real_images(pipe, None, most=2000, splits=["train"])["train"]
    latents = pipe.to_latents(train.images, train.labels).double()
    mixtures = pipe.parts.model.mixtures
    for label in range(10):  # expectation maximization keeps the mean of the points
        mean = (mixtures.weights[label, :, None] * mixtures.means[label]).sum(dim=0)
        expected = latents[train.labels == label].mean(dim=0)
        torch.testing.assert_close(mean.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_run_of_a_baseline_has_pictures_samples_and_a_pipeline(baselines, name):
    run = baselines / name
    for path in ("autoencoder/losses.png", "autoencoder/reconstructions.png", "samples/grid.png", "pipeline/README.md"):
        assert (run / path).is_file()
    assert [line["step"] for line in metrics(run / "autoencoder")] == list(range(1, 25))
    document = json.loads((run / "samples" / "samples.json").read_text())
    listed = document["images"]
    assert len(listed) == (2 if name == "vae-2d" else 20)
    assert "log_likelihood" not in listed[0]
    pipe = open_pipeline(run, device="cpu")
    assert isinstance(pipe, BaselinePipeline)
    assert document["sampling"].keys() >= {"temperature", "keep"}
    again = pipe(images_per_label=2, seed=document["seed"], **document["sampling"])
    assert (pixels(run / "samples" / listed[-1]["file"]) == np.asarray(again.images[-1])).all()


@pytest.mark.parametrize("name", KINDS)
def test_image_i_draws_from_seed_and_i(baselines, name):
    pipe = BaselinePipeline.from_pretrained(baselines / name, device="cpu", dtype="float64")
    one, other = (pipe(images_per_label=3, seed=5, batch_size=size) for size in (2, 100))
    assert torch.equal(one.latents, other.latents)
    assert [a.tobytes() for a in one.images] == [b.tobytes() for b in other.images]
    assert not torch.equal(pipe(images_per_label=3, seed=6).latents, one.latents)


@pytest.mark.parametrize("name", ["autoencoder", "vae"])
def test_cut_run_of_a_baseline_equals_an_uninterrupted_run(baselines, vqgen, tmp_path, monkeypatch, name):
    recipe = write_recipe(tmp_path / "a.toml", baseline_document(name, classifier=CLASSIFIER))
    words = ("run", recipe, "--checkpoints", tmp_path, "--quiet")

    def cut(trainer: Trainer, pending: object) -> None:
        if trainer.progress.step == 13:
            raise Interrupted(2)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_stop_if_asked", cut)
        assert vqgen(*words).code == 130
    assert not (tmp_path / name / "autoencoder" / "model").exists()
    assert vqgen(*words).code == 0
    assert final_hashes(tmp_path / name) == final_hashes(baselines / name)
    before = all_files(tmp_path / name)
    assert vqgen(*words).code == 0  # all complete: nothing is touched
    assert all_files(tmp_path / name) == before


def test_changed_recipe_of_a_baseline_is_refused_until_redo(baselines, vqgen, tmp_path):
    shutil.copytree(baselines / "vae", tmp_path / "vae")
    recipe = write_recipe(tmp_path / "vae.toml", baseline_document("vae", classifier=CLASSIFIER))
    words = ("run", recipe, "--checkpoints", tmp_path, "--quiet", "--autoencoder.latent-size", 3)
    assert_refused(vqgen(*words), "autoencoder.latent_size: 4 -> 3", "--redo")
    finished = vqgen(*words, "--dry-run", "--redo")
    assert "make again" in finished.out and "autoencoder" in finished.out
    assert vqgen(*words, "--redo").code == 0
    assert open_pipeline(tmp_path / "vae", device="cpu").parts.model.config.latent_size == 3


# commands that work with a baseline


def test_generate_keeps_the_most_certain_images_and_refuses_options_of_codes(baselines, vqgen, tmp_path):
    vae = baselines / "vae"
    out = tmp_path / "out"
    assert vqgen("generate", vae, "--labels", 3, "-o", out, "--keep", 0.5, "--temperature", 0.7).code == 0
    listed = json.loads((out / "samples.json").read_text())["images"]
    assert len(listed) == 8 and all("label_probability" in entry for entry in listed)
    for words, parts in [
        (("--guidance-scale", 2), ["guidance_scale", "baseline (vae)", "found"]),
        (("--autoguidance-scale", 2), ["autoguidance_scale", "baseline (vae)", "found"]),
        (("--top-k", 3), ["top_k", "found 3"]),
        (("--temperature", 1, 1), ["temperature", "no levels", "found 2"]),
        (("--temperature", -1), ["temperature", "found -1"]),
        (("--labels", "x"), ["'x'"]),
        (("--batch-size", 0), ["batch_size", "found 0"]),
    ]:
        assert_refused(vqgen("generate", vae, "-o", tmp_path / "no", *words), *parts)
    assert_refused(
        vqgen("generate", baselines / "binary-vae", "-o", tmp_path / "no", "--temperature", 0.5), "fair coins"
    )
    assert_refused(vqgen("generate", baselines / "vae-2d", "-o", tmp_path / "no", "--labels", 3), "without labels")
    assert_refused(vqgen("generate", baselines / "vae-2d", "-o", tmp_path / "no", "--keep", 0.5), "no classifier")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", KINDS)
def test_reconstruct_and_info_work_without_codes(baselines, vqgen, tmp_path, name):
    for number in range(3):
        save_picture(tmp_path / "images" / "3" / f"{number}.png", number, grey=True)
    finished = vqgen("reconstruct", baselines / name, tmp_path / "images", "-o", tmp_path / "out")
    assert finished.code == 0 and "PSNR" in finished.out and "bpp" not in finished.out
    assert (tmp_path / "out" / "3" / "1.png.png").is_file()
    finished = vqgen("info", baselines / name)
    assert finished.code == 0 and "no codes" in finished.out and "latents" in finished.out


@pytest.mark.parametrize("name", KINDS)
def test_evaluate_leaves_out_metrics_of_codes(baselines, vqgen, tmp_path, name):
    judge = () if name != "vae-2d" else ("--classifier", baselines / "vae")
    words = ("evaluate", baselines / name, "--images-per-label", 30, "--classifier-steps", 3, "--real-images", 120)
    finished = vqgen(*words, *judge, "--quiet", "--json", tmp_path / "f.json", "--pictures", tmp_path / "p")
    assert finished.code == 0, finished.err
    values = {metric["name"]: metric["value"] for metric in json.loads((tmp_path / "f.json").read_text())["metrics"]}
    assert {"mse", "frechet_distance", "precision", "recall", "copies"} <= values.keys()
    assert not any(found.startswith(("usage", "nats_", "bpp")) for found in values)
    assert ("elbo_validation" in values) == (name != "autoencoder")
    assert ("cas" in values) == ("sample_accuracy" in values) == (name != "vae-2d")
    if name != "autoencoder":
        assert values["log_likelihood_validation"] >= values["elbo_validation"] - 0.5
    assert_refused(
        vqgen(*words, "--only", "codes", "code-entropy"),
        "--only",
        "found code-entropy, codes",
        "there are reconstruction",
    )


def test_sweeps_vary_temperature_and_rejection(baselines, vqgen, tmp_path):
    fast = ("--images-per-label", 30, "--no-score", "--quiet", "--real-images", 120)
    for vary, values in (("temperature", (1, 0.5)), ("keep", (1, 0.5))):
        out = tmp_path / vary
        finished = vqgen("sweep", baselines / "vae", "-o", out, "--vary", vary, "--values", *values, *fast)
        assert finished.code == 0, finished.err
        assert (out / "trade-off.png").is_file()
    assert_refused(vqgen("sweep", baselines / "vae", "-o", tmp_path / "no", *fast), "guidance_scale")


# commands that need codes


def test_commands_that_need_codes_are_refused(baselines, vqgen, tmp_path):
    vae = baselines / "vae"
    recipe = baselines / "vae.toml"
    save_picture(tmp_path / "a.png", 1)
    for words in (
        ("encode", vae, tmp_path / "a.png", "-o", tmp_path / "no"),
        ("decode", vae, tmp_path, "-o", tmp_path / "no"),
        ("compress", vae, tmp_path / "a.png", "-o", tmp_path / "no"),
        ("decompress", vae, tmp_path / "a.png", "-o", tmp_path / "no"),
        ("evaluate-codec", vae, tmp_path),
    ):
        assert_refused(vqgen(*words), "a baseline without codes")
    for command in ("train-vqvae", "extract-codes", "train-prior"):
        assert_refused(vqgen(command, recipe, "--checkpoints", tmp_path / "new"), "a baseline without codes (vae)")
    assert_refused(vqgen("train-prior", recipe, "--level", "top", "--checkpoints", tmp_path / "new"), "without codes")
    assert_refused(vqgen("train-autoencoder", "digits", "--checkpoints", tmp_path / "new"), "should have [autoencoder]")
    assert not (tmp_path / "no").exists() and not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match="without codes"):
        VQGenPipeline.from_pretrained(vae)


# latents


@pytest.mark.parametrize("name", [*KINDS, "tiny"])
def test_images_are_interpolated_and_moved_along_attributes(baselines, trained, vqgen, tmp_path, name):
    run = trained if name == "tiny" else baselines / name
    for number in range(4):
        save_picture(tmp_path / ("a" if number < 2 else "b") / f"{number}.png", number, grey=True)
    one = tmp_path / "a" / "0.png"
    other = tmp_path / "b" / "2.png"
    finished = vqgen("interpolate", run, one, other, "-o", tmp_path / "out", "--steps", 4)
    assert finished.code == 0, finished.err
    assert pixels(tmp_path / "out" / "interpolation.png").shape[1] > 5 * 96
    for direction in (("--from", 3, "--to", 8), ("--without", tmp_path / "a", "--with", tmp_path / "b")):
        words = (
            "attribute",
            run,
            one,
            tmp_path / "b",
            "-o",
            tmp_path / "out",
            "--overwrite",
            *direction,
            "--strengths",
            0,
            1,
            2,
        )
        finished = vqgen(*words, "--real-images", 200)
        assert finished.code == 0, finished.err
        assert pixels(tmp_path / "out" / "attribute.png").shape[0] > 3 * 96


def test_attribute_reads_no_more_images_than_it_shows(baselines, vqgen, tmp_path, monkeypatch):
    monkeypatch.setattr("vqgen.commands.attribute._MOST_ROWS", 2)
    for number in range(2):
        save_picture(tmp_path / "many" / f"{number}.png", number, grey=True)
    (tmp_path / "many" / "9.png").write_text("no picture")
    words = ("attribute", baselines / "vae", tmp_path / "many", "-o", tmp_path / "out", "--from", 3, "--to", 8)
    words += ("--overwrite",)
    finished = vqgen(*words)
    assert (finished.code, finished.err) == (0, "")
    monkeypatch.setattr("vqgen.commands.attribute._MOST_ROWS", 3)
    finished = vqgen(*words)
    assert finished.code == 1
    assert "9.png" in finished.err


def test_ends_of_an_interpolation_are_reconstructions(baselines, trained):
    images = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    for run in (trained, baselines / "vae", baselines / "autoencoder"):
        pipe = open_pipeline(run, device="cpu", dtype="float64")
        labels = pipe.known_labels(images, torch.tensor([-1, 4]))
        mixed = pipe.from_latents(pipe.to_latents(images, labels), labels)
        assert torch.equal(mixed, pipe.reconstruct_tensor(images, labels))


def test_wrong_directions_and_steps_are_refused(baselines, vqgen, tmp_path):
    save_picture(tmp_path / "a" / "0.png", 0)
    run = baselines / "vae"
    image = tmp_path / "a" / "0.png"
    out = tmp_path / "no"
    for words, parts in [
        (("interpolate", run, image, image, "-o", out, "--steps", 1), ["--steps", "at least 2", "found 1"]),
        (("interpolate", run, image, tmp_path / "gone.png", "-o", out), ["gone.png"]),
        (("interpolate", run, image, image, "-o", out, "--label", "x"), ["'x'"]),
        (("attribute", run, image, "-o", out), ["direction", "found neither"]),
        (("attribute", run, image, "-o", out, "--from", 3), ["direction", "one end only"]),
        (("attribute", run, image, "-o", out, "--from", 3, "--to", "x"), ["'x'"]),
        (("attribute", run, image, "-o", out, "--without", tmp_path / "a", "--with", tmp_path / "gone"), ["gone"]),
    ]:
        assert_refused(vqgen(*words), *parts)
    assert not out.exists()


def test_two_latents_have_pictures_of_their_plane(baselines):
    assert (baselines / "vae-2d" / "autoencoder" / "latents.png").is_file()
    assert (baselines / "vae-2d" / "autoencoder" / "manifold.png").is_file()


def test_baselines_are_compared_with_codes(baselines, trained, vqgen, tmp_path):
    runs = (baselines / "vae", baselines / "autoencoder", trained)
    words = ("--images-per-label", 30, "--classifier-steps", 3, "--real-images", 120, "--quiet")
    finished = vqgen("compare", *runs, *words, "-o", tmp_path / "out", "--classifier", baselines / "vae")
    assert finished.code == 0, finished.err
    assert (tmp_path / "out" / "samples.png").is_file()
    assert_refused(vqgen("compare", baselines / "vae-2d", *runs, *words), "vae-2d", "--no-score")
