"""Recipes of baselines: what they may contain, what they cost, and the runs that they give."""

import json

import pytest
from small_baselines import baseline_document
from small_runs import assert_refused, pixels, save_picture, write_recipe

from benchmarks import latent_sizes
from vqgen import open_pipeline

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (("--autoencoder.beta", "2"), ['kind = "autoencoder"', "beta = 2"]),
        (("--autoencoder.kind", "gan"), ["--autoencoder.kind", "gan"]),
        (("--autoencoder.latent-size", "0"), ["autoencoder.latent_size"]),
        (("--data.image-size", "15"), ["data.image_size", "even", "found 15"]),
        (("--generate.guidance-scale", "2"), ["generate.guidance_scale", "found 2"]),
        (("--generate.keep", "0.5"), ["generate.keep", "[classifier]"]),
        (("--vqvae.channels", "8"), ["--vqvae.channels"]),
    ],
)
def test_wrong_recipes_of_baselines_are_refused(vqgen, tmp_path, changes, parts):
    recipe = write_recipe(tmp_path / "a.toml", baseline_document("autoencoder"))
    assert_refused(vqgen("run", recipe, "--checkpoints", tmp_path / "c", *changes), *parts)
    assert not (tmp_path / "c").exists()


def test_recipe_of_a_baseline_with_priors_is_refused(vqgen, tmp_path):
    recipe = write_recipe(tmp_path / "a.toml", baseline_document("vae", priors=[{}]))
    assert_refused(vqgen("run", recipe, "--checkpoints", tmp_path / "c"), "priors: is not a field of a recipe")


def test_images_without_labels_train_a_baseline(vqgen, tmp_path):
    for number in range(30):
        save_picture(tmp_path / "images" / f"{number}.png", number)
    data = {"source": "folder", "root": str(tmp_path / "images"), "image_size": 16, "channels": 3}
    for name in ("autoencoder", "vae"):
        recipe = write_recipe(tmp_path / f"{name}.toml", baseline_document(name, data=data))
        assert vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet").code == 0
        pipe = open_pipeline(tmp_path / name, device="cpu")
        assert not pipe.takes_labels and len(pipe(images_per_label=3).images) == 3


def test_shipped_recipe_of_a_vae_runs(vqgen, tmp_path):
    words = ("--autoencoder.train.steps", 4, "--autoencoder.channels", 8, "--generate.images-per-label", 1, "--quiet")
    finished = vqgen("run", "digits-vae", "--checkpoints", tmp_path, *words)
    assert finished.code == 0, finished.err
    assert (tmp_path / "digits-vae" / "samples" / "grid.png").is_file()
    fields = vqgen("run", "digits-vae", "--fields")
    assert fields.code == 0 and "--autoencoder.gumbel-temperature" in fields.out


def test_plan_of_a_baseline_has_its_stages(vqgen, tmp_path):
    assert vqgen("plan", "digits-vae", "--json", tmp_path / "p.json").code == 0
    stages = {stage["stage"]: stage for stage in json.loads((tmp_path / "p.json").read_text())["stages"]}
    assert list(stages) == ["autoencoder", "samples"]
    assert stages["autoencoder"]["parameters"] > 0 and stages["autoencoder"]["seconds"] > 0
    assert stages["samples"]["steps_per_sample"] == 1


def test_classifier_of_one_hidden_layer_is_trained_and_judges(vqgen, tmp_path):
    small = {"kind": "hidden-layer", "hidden": 12, "dropout": 0.3, "train": {"steps": 10}}
    recipe = write_recipe(tmp_path / "a.toml", baseline_document("vae", classifier=small))
    assert vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet").code == 0
    assert vqgen("generate", tmp_path / "vae", "-o", tmp_path / "out", "--keep", 0.5).code == 0
    words = (
        "--only",
        "distribution",
        "classifier-metrics",
        "score",
        "--images-per-label",
        30,
        "--classifier-steps",
        3,
        "--quiet",
    )
    finished = vqgen("evaluate", tmp_path / "vae", *words)
    assert finished.code == 0, finished.err
    assert vqgen("plan", recipe, "--no-measure").code == 0


def test_sizes_of_latents_are_compared_in_one_picture(vqgen, tmp_path):
    recipe = write_recipe(tmp_path / "vae.toml", baseline_document("vae"))
    words = ["--sizes", "2", "3", "--images-per-label", "2", "--checkpoints", str(tmp_path), "--quiet"]
    for _ in range(2):  # the second time nothing is trained
        assert latent_sizes.main([str(recipe), *words, "-o", str(tmp_path / "out")]) == 0
    assert pixels(tmp_path / "out" / "latent-sizes.png").shape[1] > 4 * 48
    assert open_pipeline(tmp_path / "vae-latents-3", device="cpu").parts.model.config.latent_size == 3
