"""Judgement of a checkpoint and its trade-offs, as a user meets them."""

import json
import math

import pytest
from small_runs import assert_refused, pixels, record, save_picture, small_document, write_recipe

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

FAST = ("--classifier-steps", 4, "--quiet")
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
    (note,) = document["notes"]
    assert "validation images chose the weights" in note
    assert f"  {note}\n" in finished.out
    for name, metric in metrics.items():
        assert f"{name}  " in finished.out
        assert metric["space"] in finished.out
    assert pixels(tmp_path / "pictures" / "neighbours.png").ndim == 2
    # the same again, from the stored features
    stored = ("--json", tmp_path / "b.json", "--reference-features", tmp_path / "f.safetensors", "--overwrite")
    again = vqgen(*words, *stored)
    assert again.out == finished.out
    assert (tmp_path / "b.json").read_text() == (tmp_path / "a.json").read_text()


def test_quick_look_says_that_it_is_one_and_leaves_out_slow_groups(vqgen, judged, tmp_path):
    finished = vqgen("evaluate", judged, "--quick", "--json", tmp_path / "a.json")
    assert finished.code == 0, finished.err
    document = json.loads((tmp_path / "a.json").read_text())
    metrics = {metric["name"]: metric for metric in document["metrics"]}
    assert metrics.keys() == NAMES - {"cas", "cas_of_real", "cas_of_reconstructions", "copies", "nearer"}
    assert metrics["recall"]["counts"] == {"samples": 200, "validation": 179}
    assert metrics["bpp_train"]["counts"] == {"train": 1000}
    assert document["quick"] is True
    first, *_, last = finished.out.splitlines()
    assert first.startswith(
        "quick look: 20 images a label, at most 1,000 real images of a split; its figures cannot be"
    )
    assert last == "  memorisation: left out, it compares with all training images"
    words = ("evaluate", judged, "--only", "codes", "--json", tmp_path / "b.json")
    assert "quick look" not in vqgen(*words).out
    assert json.loads((tmp_path / "b.json").read_text())["quick"] is False


def test_metrics_of_stage_two_equal_those_of_the_run(vqgen, judged, tmp_path):
    finished = vqgen("evaluate", judged, "--only", "likelihood", "reconstruction", "--json", tmp_path / "a.json")
    assert finished.code == 0, finished.err
    metrics = {m["name"]: m["value"] for m in json.loads((tmp_path / "a.json").read_text())["metrics"]}
    top = record(judged / "prior-top")["metrics"]
    vqvae = record(judged / "vqvae")["metrics"]
    assert metrics["nats_top_validation"] == pytest.approx(top["val_nats_per_code"], rel=1e-5)
    # The images are encoded anew, in other batches: rounding may change a code in a thousand images.
    assert metrics["nats_top_train"] == pytest.approx(top["train_nats_per_code"], rel=1e-3)
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
        assert "validation images chose the weights" in finished.out
        assert len(document["notes"]) == 1
    finished = vqgen(
        "sweep", judged, "-o", tmp_path / "t", "--vary", "temperature", "--values", 0.5, "--no-score", *FAST
    )
    assert finished.code == 0, finished.err


def test_codes_of_hot_samples_are_more_varied_than_those_of_cold_ones(vqgen, judged, tmp_path):
    def code_entropy(temperature):
        words = ("--only", "code-entropy", "--images-per-label", 40, "--temperature", temperature)
        finished = vqgen("evaluate", judged, *words, "--json", tmp_path / "a.json", "--overwrite")
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
        (["--judging-seed", "-1"], ["--judging-seed", "at least 0", "found -1"]),
        (["--real-images", "0"], ["--real-images", "at least 1", "found 0"]),
        (["--classifier-steps", "0"], ["--classifier-steps", "at least 1", "found 0"]),
        (["--score-seeds", "0"], ["--score-seeds", "at least 1", "found 0"]),
        (["--classifier", "nowhere"], ["'nowhere'"]),
        (["--inception-weights", "nowhere"], ["--inception-weights nowhere", "no such file"]),
        (["--lpips-weights", "nowhere"], ["--lpips-weights", "nowhere"]),
        (["--quick", "--pictures", "out"], ["--pictures", "--quick", "leave out one"]),
        (["--quick", "--only", "codes", "score"], ["--only", "found score", "trains classifiers"]),
    ]:
        only = ("--only", "distribution", "reconstruction")
        assert_refused(vqgen("evaluate", judged, *only, *FAST, "--json", tmp_path / "a.json", *options), *parts)
        assert not (tmp_path / "a.json").exists()
    assert_refused(
        vqgen("sweep", judged, "-o", tmp_path / "s", "--vary", "keep", "--values", "1", "0"), "keep", "found 0"
    )
    assert not (tmp_path / "s").exists()


def test_features_of_another_space_are_refused(vqgen, judged, trained, classifier_toml, tmp_path):
    only = ("--only", "distribution", "--images-per-label", 2, *FAST)
    stored = (*only, "--reference-features", tmp_path / "f.safetensors")
    assert vqgen("evaluate", judged, *stored).code == 0
    assert_refused(vqgen("evaluate", trained, *stored), "f.safetensors", "in the space 'classifier ", "another file")
    assert_refused(vqgen("evaluate", judged, *stored, "--reference", "train"), "of 1,618 images", "found those of 179")
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
        finished = vqgen("evaluate", judged, *only, *options, "--json", tmp_path / "a.json", "--overwrite")
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
    assert_refused(vqgen("evaluate", root / "tiny", "--only", "distribution"), "has no labels", "--inception-weights")
    sweep = ("sweep", root / "tiny", "-o", tmp_path / "s")
    assert_refused(vqgen(*sweep), "guidance_scale: should be 1 for a model without labels")
    finished = vqgen(*sweep, "--vary", "temperature", "--values", 1, "--images-per-label", 3)
    assert finished.code == 0, finished.err
    assert "and no picture, for lack of two metrics to draw" in finished.out
    points = json.loads((tmp_path / "s" / "trade-off.json").read_text())["points"]
    assert {"copies", "entropy_top"} <= points[0].keys()
    finished = vqgen("evaluate", root / "tiny", "--images-per-label", 3, "--json", tmp_path / "e.json")
    assert finished.code == 0, finished.err
    assert "score: left out, the images have no labels" in finished.out
    document = json.loads((tmp_path / "e.json").read_text())
    assert {"score", "distribution", "classifier-metrics"} <= document["left_out"].keys()
    groups = {metric["group"] for metric in document["metrics"]}
    assert groups == {"reconstruction", "codes", "likelihood", "code-entropy", "memorisation"}
    assert "nearer" in finished.out
    assert "3 samples, 3 validation" in finished.out.split("entropy_top")[1].splitlines()[0]


def test_images_other_than_those_of_the_training_are_refused(vqgen, judged):
    path = judged / "pipeline" / "split.json"
    split = json.loads(path.read_text())
    path.write_text(json.dumps({"train": split["train"][1:], "validation": split["validation"]}))
    assert_refused(vqgen("evaluate", judged, "--only", "codes"), "digits: should be the images", "--data-root")
    (judged / "pipeline" / "recipe.toml").unlink()
    assert_refused(vqgen("evaluate", judged, "--only", "codes"), "has no recipe.toml")
