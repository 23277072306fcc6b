"""Training of the classifier, judgement of a checkpoint and its trade-offs, as a user meets them."""

import json
import math
import shutil

import numpy as np
import pytest
import tomli_w
import torch
from small_runs import (
    all_files,
    assert_refused,
    final_hashes,
    pixels,
    record,
    save_picture,
    small_document,
    write_recipe,
)

from vqgen import VQGenPipeline

FAST = ("--classifier-steps", 4, "--quiet")
SMALL = {
    "channels": 8, "stages": 2,
    "train": {"steps": 12, "batch_size": 16, "validate_every": 6, "save_every": 5, "log_every": 4},
}  # fmt: skip
NAMES = {
    "mse", "psnr", "ssim", "ms_ssim",
    "usage_top", "usage_bottom", "perplexity_top", "perplexity_bottom",
    "nats_top_train", "nats_bottom_train", "bpp_train",
    "nats_top_validation", "nats_bottom_validation", "bpp_validation",
    "entropy_top", "entropy_bottom", "entropy_top_of_real", "entropy_bottom_of_real",
    "frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage",
    "inception_score", "inception_score_of_parts", "inception_score_deviation", "inception_score_of_real",
    "sample_accuracy", "real_accuracy",
    "cas", "cas_of_real", "cas_of_reconstructions", "copies", "nearer",
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path):
    """The recipe of `trained`, with a classifier."""
    return write_recipe(tmp_path / "tiny.toml", small_document() | {"classifier": SMALL})


@pytest.fixture
def judged(vqgen, trained, recipe, tmp_path):
    """A copy of the trained run, with a classifier."""
    root = tmp_path / "checkpoints"
    shutil.copytree(trained, root / "tiny")
    assert vqgen("train-classifier", recipe, "--checkpoints", root, "--quiet").code == 0
    return root / "tiny"


def test_classifier_is_added_to_a_finished_run_and_changes_nothing_else(vqgen, trained, judged, recipe):
    before = final_hashes(trained)
    after = final_hashes(judged)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"classifier", "pipeline"}
    assert record(judged / "classifier")["metrics"].keys() >= {"val_accuracy", "val_cross_entropy"}
    assert (judged / "classifier" / "losses.png").is_file()
    assert "| classifier | val_accuracy |" in (judged / "pipeline" / "README.md").read_text()
    assert "classifier  " in vqgen("info", judged).out
    assert "classifier" not in vqgen("info", trained).out
    files = all_files(judged)
    finished = vqgen("run", recipe, "--checkpoints", judged.parent)
    assert finished.code == 0, finished.err
    assert "classifier: complete" in finished.out
    assert all_files(judged) == files


def test_run_trains_the_classifier_of_a_recipe_and_accepts_a_recipe_without_one(vqgen, judged, recipe, tiny_toml):
    root = judged.parent
    assert "skip, complete" in vqgen("run", recipe, "--checkpoints", root, "--dry-run").out.split("classifier")[-1]
    tiny_toml.write_text(tomli_w.dumps(small_document()))
    finished = vqgen("run", tiny_toml, "--checkpoints", root)
    assert finished.code == 0, finished.err
    assert VQGenPipeline.from_pretrained(judged, device="cpu").parts.classifier is not None
    changed = vqgen("train-classifier", recipe, "--checkpoints", root, "--classifier.channels", "16")
    assert_refused(changed, "classifier.channels: 8 -> 16", "--redo")


def test_samples_of_a_run_are_chosen_and_guided(vqgen, judged, recipe):
    drawn = ("--generate.keep", "0.5", "--generate.guidance-scale", "2", "--generate.temperature", "0.2")
    finished = vqgen("run", recipe, "--checkpoints", judged.parent, *drawn, "--redo", "--quiet")
    assert finished.code == 0, finished.err
    document = json.loads((judged / "samples" / "samples.json").read_text())
    entries = document["images"]
    assert len(entries) == 20
    assert all(0 <= entry["label_probability"] <= 1 for entry in entries)
    assert document["sampling"] == {
        "temperature": 0.2, "top_k": None, "top_p": None, "guidance_scale": 2, "autoguidance_scale": 1, "keep": 0.5
    }  # fmt: skip
    pipe = VQGenPipeline.from_pretrained(judged, device="cpu")
    again = pipe(images_per_label=2, seed=document["seed"], **document["sampling"])
    for entry, image in zip(entries, again.images, strict=True):
        assert (pixels(judged / "samples" / entry["file"]) == np.asarray(image)).all()


def test_run_stores_its_guides_and_samples_with_them(vqgen, judged, recipe, tmp_path):
    root = judged.parent
    shares = ("--priors.0.guide-share", "0.5", "--priors.1.guide-share", "0.5")
    words = ("run", recipe, "--checkpoints", root, *shares, "--generate.autoguidance-scale", "3", "--quiet")
    finished = vqgen(*words, "--redo")
    assert finished.code == 0, finished.err
    hashes = json.loads((judged / "pipeline" / "pipeline.json").read_text())["sha256"]
    assert len({hashes[f"{model}-{level}"] for model in ("prior", "guide") for level in ("top", "bottom")}) == 4
    assert vqgen("info", judged).out.count(", and its guide") == 2
    guided = pixels(judged / "samples" / "grid.png")
    files = all_files(judged)
    again = vqgen(*words)
    assert again.code == 0, again.err
    assert all_files(judged) == files
    assert vqgen("generate", judged, "--images-per-label", 2, "-o", tmp_path / "free", "--quiet").code == 0
    assert not np.array_equal(pixels(tmp_path / "free" / "grid.png"), guided)
    swept = vqgen("sweep", judged, "-o", tmp_path / "sweep", "--vary", "autoguidance-scale", "--values", 1, 20,
                  "--images-per-label", 3, "--no-score", *FAST)  # fmt: skip
    assert swept.code == 0, swept.err
    one, other = json.loads((tmp_path / "sweep" / "trade-off.json").read_text())["points"]
    assert one["frechet_distance"] != other["frechet_distance"]
    only = ("--only", "classifier-metrics", "--images-per-label", 1)
    evaluated = vqgen("evaluate", judged, *only, "--autoguidance-scale", 2, *FAST)
    assert "no guidance, autoguidance 2, none rejected" in evaluated.out
    shares = ("--priors.0.guide-share", "0.25", "--priors.1.guide-share", "0.25")
    redone = vqgen("run", recipe, "--checkpoints", root, *shares, *words[-3:], "--redo")
    assert redone.code == 0, redone.err
    now = json.loads((judged / "pipeline" / "pipeline.json").read_text())["sha256"]
    assert {name for name in hashes if now[name] != hashes[name]} == {"guide-top", "guide-bottom"}
    assert "samples: 20 images" in redone.out
    assert not np.array_equal(pixels(judged / "samples" / "grid.png"), guided)


def test_guide_that_patience_forestalled_is_missing_with_a_warning(vqgen, trained, recipe, tmp_path):
    shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")
    hasty = ("--patience", 1, "--validate-every", 1, "--learning-rate", 10)
    train = [word.replace("--", "--priors.0.train.") if isinstance(word, str) else word for word in hasty]
    words = ("train-prior", recipe, "--level", "top", "--checkpoints", tmp_path / "checkpoints", "--redo", *train)
    finished = vqgen(*words, "--priors.0.guide-share", "0.9")
    assert finished.code == 0, finished.err
    for part in ("prior-top: patience ended the training after", "before it kept a guide", "below 0.9", "--redo"):
        assert part in finished.err
    assert not (tmp_path / "checkpoints" / "tiny" / "prior-top" / "guide").exists()


def test_generate_keeps_the_surest(vqgen, judged, tmp_path):
    words = ("generate", judged, "--labels", "3", "--images-per-label", "2", "--quiet")
    assert vqgen(*words, "--keep", "0.25", "-o", tmp_path / "kept").code == 0
    assert vqgen(*words[:-2], "8", "--quiet", "-o", tmp_path / "all").code == 0
    kept = {pixels(path).tobytes() for path in (tmp_path / "kept" / "3").glob("*.png")}
    assert len(list((tmp_path / "kept" / "3").glob("*.png"))) == 2
    assert kept <= {pixels(path).tobytes() for path in (tmp_path / "all" / "3").glob("*.png")}


def test_evaluate_finds_a_finite_value_for_every_metric(vqgen, judged, tmp_path):
    words = ("evaluate", judged, "--images-per-label", 4, *FAST, "--pictures", tmp_path / "pictures")
    finished = vqgen(*words, "--json", tmp_path / "a.json", "--reference-features", tmp_path / "f.safetensors")
    assert finished.code == 0, finished.err
    document = json.loads((tmp_path / "a.json").read_text())
    metrics = {metric["name"]: metric for metric in document["metrics"]}
    assert metrics.keys() == NAMES
    assert all(math.isfinite(metric["value"]) for metric in metrics.values())
    assert all(math.isfinite(metric["floor"]) for metric in metrics.values())
    assert metrics["recall"]["counts"] == {"samples": 40, "validation": 179}
    assert metrics["recall"]["space"] == document["space"]
    assert document["sampling"]["seed"] == 0
    for name, metric in metrics.items():
        assert f"{name}  " in finished.out
        assert metric["space"] in finished.out
    assert pixels(tmp_path / "pictures" / "neighbours.png").ndim == 2
    # the same again, from the stored features
    again = vqgen(*words, "--json", tmp_path / "b.json", "--reference-features", tmp_path / "f.safetensors")
    assert again.out == finished.out
    assert (tmp_path / "b.json").read_text() == (tmp_path / "a.json").read_text()


def test_metrics_of_stage_two_equal_those_of_the_run(vqgen, judged, tmp_path):
    finished = vqgen("evaluate", judged, "--only", "likelihood", "reconstruction", "--json", tmp_path / "a.json")
    assert finished.code == 0, finished.err
    metrics = {m["name"]: m["value"] for m in json.loads((tmp_path / "a.json").read_text())["metrics"]}
    top = record(judged / "prior-top")["metrics"]
    vqvae = record(judged / "vqvae")["metrics"]
    assert metrics["nats_top_validation"] == pytest.approx(top["val_nats_per_code"], rel=1e-5)
    assert metrics["nats_top_train"] == pytest.approx(top["train_nats_per_code"], rel=1e-5)
    assert metrics["mse"] == pytest.approx(vqvae["val_mse"], rel=1e-3)  # of rounded pixels


def test_old_names_of_groups_are_accepted_with_a_warning(vqgen, judged):
    words = ("evaluate", judged, "--images-per-label", 1, *FAST)
    for old, new in (("naming", "classifier-metrics"), ("variety", "code-entropy")):
        finished = vqgen(*words, "--only", old)
        assert finished.code == 0, finished.err
        assert f"warning: --only {old} is now called {new}" in finished.err
        present = vqgen(*words, "--only", new)
        assert present.out == finished.out
        assert "warning" not in present.err


def test_checkpoint_without_a_classifier_is_judged_by_one_trained_for_it(vqgen, trained):
    finished = vqgen("evaluate", trained, "--only", "classifier-metrics", "--images-per-label", 1, *FAST)
    assert finished.code == 0, finished.err
    assert "has no classifier; training one on 1,618 real images" in finished.out


def test_sweep_draws_curves_and_writes_their_points(vqgen, judged, tmp_path):
    for vary, values in (("keep", ["1", "0.5"]), ("guidance-scale", ["0", "50"])):
        out = tmp_path / vary
        words = ("sweep", judged, "-o", out, "--vary", vary, "--values", *values, "--images-per-label", 3, *FAST)
        finished = vqgen(*words)
        assert finished.code == 0, finished.err
        document = json.loads((out / "trade-off.json").read_text())
        assert [point["value"] for point in document["points"]] == [float(value) for value in values]
        assert document["points"][0]["copies"] >= 0
        assert document["points"][0]["entropy_bottom"] > 0
        assert document["points"][0]["frechet_distance"] != document["points"][1]["frechet_distance"]
        assert document["real_images"].keys() == {"precision", "recall", "cas"}
        assert pixels(out / "trade-off.png").shape[1] > 1000
    finished = vqgen(
        "sweep", judged, "-o", tmp_path / "t", "--vary", "temperature", "--values", 0.5, "--no-score", *FAST
    )
    assert finished.code == 0, finished.err


def test_codes_of_hot_samples_are_more_varied_than_those_of_cold_ones(vqgen, judged, tmp_path):
    def code_entropy(temperature):
        words = ("--only", "code-entropy", "--images-per-label", 40, "--temperature", temperature)
        finished = vqgen("evaluate", judged, *words, "--json", tmp_path / "a.json")
        assert finished.code == 0, finished.err
        return {metric["name"]: metric for metric in json.loads((tmp_path / "a.json").read_text())["metrics"]}

    cold = code_entropy(0)
    hot = code_entropy(100)
    assert cold["entropy_top"]["value"] == 0  # each label's likeliest code
    assert hot["entropy_top"]["value"] > 1
    assert hot["entropy_bottom"]["value"] > cold["entropy_bottom"]["value"]
    # there are fewer held-out digits than samples, so only as many samples count
    assert cold["entropy_top"]["counts"] == {"samples": 179, "validation": 179}
    for level in ("top", "bottom"):
        assert cold[f"entropy_{level}_of_real"] == hot[f"entropy_{level}_of_real"]
        assert cold[f"entropy_{level}_of_real"]["value"] > 0


# wrong input


def test_wrong_options_are_refused_and_write_nothing(vqgen, judged, tmp_path):
    for options, parts in [
        (["--keep", "0"], ["keep", "above 0", "found 0"]),
        (["--guidance-scale", "nan"], ["guidance_scale", "found nan"]),
        (["--images-per-label", "0"], ["images_per_label", "at least 1"]),
        (["--images-per-label", "1"], ["frechet distance", "at least 17 images", "found 10", "--images-per-label"]),
        (["--real-images", "0"], ["--real-images", "at least 1", "found 0"]),
        (["--classifier-steps", "0"], ["--classifier-steps", "at least 1", "found 0"]),
        (["--score-seeds", "0"], ["--score-seeds", "at least 1", "found 0"]),
        (["--classifier", "nowhere"], ["'nowhere'"]),
        (["--inception-weights", "nowhere"], ["--inception-weights nowhere", "no such file"]),
        (["--lpips-weights", "nowhere"], ["--lpips-weights", "nowhere"]),
    ]:
        only = ("--only", "distribution", "reconstruction")
        assert_refused(vqgen("evaluate", judged, *only, *FAST, "--json", tmp_path / "a.json", *options), *parts)
        assert not (tmp_path / "a.json").exists()
    assert_refused(
        vqgen("sweep", judged, "-o", tmp_path / "s", "--vary", "keep", "--values", "1", "0"), "keep", "found 0"
    )
    assert not (tmp_path / "s").exists()


def test_features_of_another_space_are_refused(vqgen, judged, trained, recipe, tmp_path):
    only = ("--only", "distribution", "--images-per-label", 2, *FAST)
    stored = (*only, "--reference-features", tmp_path / "f.safetensors")
    assert vqgen("evaluate", judged, *stored).code == 0
    assert_refused(vqgen("evaluate", trained, *stored), "f.safetensors", "in the space 'classifier ", "another file")
    assert_refused(vqgen("evaluate", judged, *stored, "--reference", "train"), "of 1618 images", "found 179")
    (tmp_path / "f.safetensors").write_bytes(b"nothing")
    assert_refused(vqgen("evaluate", judged, *stored), "f.safetensors", "damaged")
    assert vqgen("evaluate", trained, *only, "--classifier", judged).code == 0
    assert_refused(vqgen("evaluate", judged, *only, "--classifier", trained), "should have a classifier, found none")


def test_score_is_by_classifiers_of_the_checkpoint_that_judges(vqgen, trained, judged, tmp_path):
    """Otherwise the score of a run whose recipe has another classifier, or none, could not be compared."""
    only = ("--only", "score", "--images-per-label", 2, "--classifier-steps", 1, "--quiet", "--json")
    words = ("evaluate", trained, *only)
    assert vqgen(*words, tmp_path / "own.json").code == 0
    assert vqgen(*words, tmp_path / "other.json", "--classifier", judged).code == 0
    assert vqgen("evaluate", judged, *only, tmp_path / "judge.json").code == 0
    own, other, judge = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("own", "other", "judge"))
    assert other["classifier"] == judge["classifier"] != own["classifier"]
    real = [{m["name"]: m["value"] for m in found["metrics"]}["cas_of_real"] for found in (other, judge)]
    assert real[0] == real[1]


def test_score_of_several_seeds_is_their_mean(vqgen, judged, tmp_path):
    def scores(*options):
        only = ("--only", "score", "--images-per-label", 6, "--classifier-steps", 20, "--quiet")
        finished = vqgen("evaluate", judged, *only, *options, "--json", tmp_path / "a.json")
        assert finished.code == 0, finished.err
        document = json.loads((tmp_path / "a.json").read_text())
        return {metric["name"]: metric for metric in document["metrics"]}, document["score_seeds"]

    single = [scores("--judging-seed", seed)[0] for seed in (5, 6)]
    several, count = scores("--judging-seed", 5, "--score-seeds", 2)
    assert count == 2
    names = ("cas", "cas_of_real", "cas_of_reconstructions")
    assert several.keys() == {*names, *(f"{name}_deviation" for name in names)}
    for name in names:
        one, other = (found[name]["value"] for found in single)
        assert several[name]["value"] == pytest.approx((one + other) / 2)
        assert several[f"{name}_deviation"]["value"] == pytest.approx(abs(one - other) / 2)
        assert several[name]["space"] == "20 steps, 2 seeds"
        assert several[name]["counts"] == single[0][name]["counts"]
    assert any(several[f"{name}_deviation"]["value"] > 0 for name in names)


def test_checkpoint_without_labels_is_judged_by_metrics_that_need_none(vqgen, tmp_path):
    for number in range(40):
        save_picture(tmp_path / "images" / f"{number}.png", number, grey=True)
    document = small_document(data__source="folder", data__root=str(tmp_path / "images"))
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    root = tmp_path / "checkpoints"
    assert vqgen("run", recipe, "--checkpoints", root, "--quiet", "--force").code == 0
    assert_refused(vqgen("train-classifier", recipe, "--checkpoints", root), "needs images with labels")
    assert_refused(vqgen("evaluate", root / "tiny"), "has no labels", "--only reconstruction")
    assert_refused(vqgen("evaluate", root / "tiny", "--only", "distribution"), "has no labels", "--inception-weights")
    sweep = ("sweep", root / "tiny", "-o", tmp_path / "s")
    assert_refused(vqgen(*sweep), "guidance_scale: should be 1 for a model without labels")
    assert_refused(vqgen(*sweep, "--vary", "temperature"), "has no labels", "--no-score")
    words = ("--only", "reconstruction", "codes", "likelihood", "code-entropy", "memorisation", "--images-per-label", 3)
    finished = vqgen("evaluate", root / "tiny", *words)
    assert finished.code == 0, finished.err
    assert "nearer" in finished.out
    assert "3 samples, 3 validation" in finished.out.split("entropy_top")[1].splitlines()[0]


def test_images_other_than_those_of_the_training_are_refused(vqgen, judged):
    path = judged / "pipeline" / "split.json"
    split = json.loads(path.read_text())
    path.write_text(json.dumps({"train": split["train"][1:], "validation": split["validation"]}))
    assert_refused(vqgen("evaluate", judged, "--only", "codes"), "digits: should be the images", "--data-root")
    (judged / "pipeline" / "recipe.toml").unlink()
    assert_refused(vqgen("evaluate", judged, "--only", "codes"), "has no recipe.toml")


def test_guided_request_is_the_same_in_any_batch(vqgen, trained, tmp_path):
    pipe = VQGenPipeline.from_pretrained(trained, device="cpu", dtype="float64")
    one, other = (pipe(["3", None], 3, guidance_scale=2.0, batch_size=size) for size in (2, 100))
    assert torch.equal(one.codes.bottom, other.codes.bottom)
