"""The comparison of several runs by one judge, as a user meets it."""

import json
import math
import shutil

import pytest
from small_runs import assert_refused, pixels, record, run_installed, save_picture, small_document, write_recipe

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

FAST = ("--classifier-steps", 4, "--images-per-label", 3, "--quiet", "--device", "cpu")
SMALL = {
    "channels": 8, "stages": 2,
    "train": {"steps": 12, "batch_size": 16, "validate_every": 6, "save_every": 5, "log_every": 4},
}  # fmt: skip
METRICS = {
    "parameters", "training_seconds", "raw_bpp", "bpp", "mse", "frechet_distance", "kernel_distance", "precision",
    "recall", "sample_accuracy", "cas", "copies", "samples_per_second",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, trained):
    """The trained run with a classifier, one of a single level, and the pipeline of the first alone."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(trained, root / "tiny")
    recipe = write_recipe(root / "tiny.toml", small_document() | {"classifier": SMALL})
    finished = run_installed("train-classifier", recipe, "--checkpoints", root, "--quiet")
    assert finished.code == 0, finished.err
    recipe = write_recipe(root / "single.toml", small_document(levels=1))
    finished = run_installed("run", recipe, "--checkpoints", root, "--run-name", "single", "--quiet")
    assert finished.code == 0, finished.err
    shutil.copytree(root / "tiny" / "pipeline", root / "alone")
    return root / "tiny", root / "single", root / "alone"


def test_record_of_every_stage_has_its_seconds(trained):
    for stage in ("vqvae", "codes", "prior-top", "prior-bottom"):
        assert record(trained / stage)["seconds"] > 0


def test_score_of_several_seeds_has_a_row_for_its_deviation(vqgen, runs, tmp_path):
    words = ("compare", *runs[:2], *FAST, "--score-seeds", 2, "--json", tmp_path / "c.json")
    finished = vqgen(*words)
    assert finished.code == 0, finished.err
    document = json.loads((tmp_path / "c.json").read_text())
    assert all(entry["metrics"].keys() == METRICS | {"cas_deviation"} for entry in document["runs"])
    assert all(entry["metrics"]["cas_deviation"] >= 0 for entry in document["runs"])
    assert document["real_images"].keys() == {"images", "cas", "cas_deviation", "cas_floor"}
    assert "cas, deviation  " in finished.out
    assert "cas: mean of 2 seeds, 4 steps each" in finished.out


def test_comparison_is_a_table_a_picture_and_a_document(vqgen, runs, tmp_path):
    finished = vqgen("compare", *runs, *FAST, "--json", tmp_path / "c.json", "-o", tmp_path / "out")
    assert finished.code == 0, finished.err
    document = json.loads((tmp_path / "c.json").read_text())
    names = [entry["name"] for entry in document["runs"]]
    assert names == ["tiny", "single", "alone"]
    heading = next(line for line in finished.out.splitlines() if line.endswith("floor"))
    assert heading.split() == [*names, "floor"]
    metrics = {entry["name"]: entry["metrics"] for entry in document["runs"]}
    for name in names:
        assert metrics[name].keys() == METRICS
        known = {key: value for key, value in metrics[name].items() if key != "training_seconds"}
        assert all(math.isfinite(value) for value in known.values())
    stages = ("vqvae", "codes", "prior-top", "prior-bottom")
    assert metrics["tiny"]["training_seconds"] == pytest.approx(
        sum(record(runs[0] / stage)["seconds"] for stage in stages)
    )
    assert metrics["alone"]["training_seconds"] is None
    # one judge, the same seeds: the same models have the same metrics
    timed = {"training_seconds", "samples_per_second"}
    assert {key: metrics["tiny"][key] for key in METRICS - timed} == {
        key: metrics["alone"][key] for key in METRICS - timed
    }
    assert metrics["single"]["mse"] != metrics["tiny"]["mse"]
    assert 0 <= document["real_images"]["cas"] <= 1
    assert document["counts"] == {"validation": 179, "samples": 30}
    assert document["space"] in finished.out
    assert "validation images chose the weights" in finished.out
    assert len(document["notes"]) == 1
    picture = pixels(tmp_path / "out" / "samples.png")
    assert picture.shape[1] > 3 * 3 * 48  # three blocks of three pictures


def test_metrics_equal_those_of_evaluate_also_with_a_classifier_trained_on_the_spot(vqgen, trained, runs, tmp_path):
    words = (*FAST, "--images-per-label", 7, "--json", tmp_path / "a.json", "--overwrite")
    finished = vqgen("compare", trained, runs[1], *words, "--no-score")
    assert finished.code == 0, finished.err
    assert "tiny has no classifier; training one on 1,618 real images" in finished.out
    compared = json.loads((tmp_path / "a.json").read_text())
    groups = ("--only", "distribution", "reconstruction", "memorisation", "likelihood")
    assert vqgen("evaluate", trained, *words, *groups).code == 0
    evaluated = json.loads((tmp_path / "a.json").read_text())
    assert compared["space"] == evaluated["space"]
    found = {metric["name"]: metric["value"] for metric in evaluated["metrics"]}
    found["bpp"] = found["bpp_validation"]
    ours = compared["runs"][0]["metrics"]
    for name in ("frechet_distance", "precision", "recall", "mse", "copies", "bpp"):
        assert ours[name] == pytest.approx(found[name], rel=1e-9), name
    assert ours["cas"] is None
    assert compared["real_images"] == {}


def test_runs_are_compared_by_few_samples_as_far_as_they_can_be(vqgen, runs, tmp_path):
    trained, single, _ = runs
    words = ("--images-per-label", 1, "--no-score", "--json", tmp_path / "c.json")
    finished = vqgen("compare", trained, single, *FAST, *words)
    assert finished.code == 0, finished.err
    assert "frechet_distance: left out, it needs at least 17 images" in finished.out
    document = json.loads((tmp_path / "c.json").read_text())
    for run in document["runs"]:
        assert run["metrics"]["frechet_distance"] is None
        assert run["left_out"].keys() == {"frechet_distance"}
        assert run["metrics"]["kernel_distance"] is not None


def test_runs_that_cannot_be_compared_are_refused_and_nothing_is_written(vqgen, runs, tmp_path):
    trained, single, _ = runs
    outputs = ("--json", tmp_path / "c.json", "-o", tmp_path / "out", *FAST)
    assert_refused(vqgen("compare", trained, *outputs), "RUN: should be at least two", "found 1")
    assert_refused(vqgen("compare", trained, trained / "pipeline", *outputs), "given once", "twice")
    assert_refused(vqgen("compare", trained, tmp_path / "nowhere", *outputs), "nowhere", "no such folder")
    shutil.copytree(trained, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "pipeline" / "prior-bottom")
    assert_refused(vqgen("compare", trained, tmp_path / "cut", *outputs), "no prior for bottom", "cannot generate")
    small = small_document(data__image_size=8, vqvae__downsample=[4, 2])
    recipe = write_recipe(tmp_path / "small.toml", small | {"name": "small"})
    assert vqgen("run", recipe, "--checkpoints", tmp_path, "--quiet", "--force").code == 0
    refused = vqgen("compare", trained, tmp_path / "small", *outputs)
    assert_refused(refused, "small: should be of the same images", "image size 8 x 8 instead of 16 x 16")
    shutil.copytree(trained, tmp_path / "split")
    path = tmp_path / "split" / "pipeline" / "split.json"
    split = json.loads(path.read_text())
    split["validation"][0], split["train"][0] = split["train"][0], split["validation"][0]
    path.write_text(json.dumps(split))
    assert_refused(vqgen("compare", trained, tmp_path / "split", *outputs), "the same validation images", "seed")
    assert_refused(vqgen("compare", trained, single, *outputs, "--keep", "0"), "keep", "found 0")
    assert not (tmp_path / "c.json").exists()
    assert not (tmp_path / "out").exists()


def test_runs_without_labels_are_compared_by_what_needs_none(vqgen, tmp_path):
    for number in range(40):
        save_picture(tmp_path / "images" / f"{number}.png", number, grey=True)
    document = small_document(data__source="folder", data__root=str(tmp_path / "images"))
    recipe = write_recipe(tmp_path / "tiny.toml", document)
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        words = ("run", recipe, "--checkpoints", tmp_path, "--run-name", run.name, "--quiet", "--force")
        assert vqgen(*words).code == 0
    finished = vqgen("compare", *runs, *FAST, "--json", tmp_path / "c.json")
    assert finished.code == 0, finished.err
    assert "score: left out, the images have no labels, so no classifier can be trained on samples" in finished.out
    assert "distribution, classifier-metrics: left out, the images have no labels, so there is no" in finished.out
    document = json.loads((tmp_path / "c.json").read_text())
    for run in document["runs"]:
        assert run["metrics"]["copies"] is not None
        assert run["metrics"]["frechet_distance"] is None
    assert document["left_out"].keys() == {"score", "distribution", "classifier-metrics"}
