"""The classifier and the guides of a run: their training, and the samples that they choose and guide."""

import json
import shutil

import numpy as np
import pytest
import tomli_w
import torch
from small_runs import all_files, assert_refused, final_hashes, pixels, record, small_document

from vqgen import VQGenPipeline

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

FAST = ("--classifier-steps", 4, "--quiet")


def test_classifier_is_added_to_a_finished_run_and_changes_nothing_else(vqgen, trained, judged, classifier_toml):
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
    finished = vqgen("run", classifier_toml, "--checkpoints", judged.parent)
    assert finished.code == 0, finished.err
    assert "classifier: complete" in finished.out
    assert all_files(judged) == files


def test_run_trains_the_classifier_of_a_recipe_and_accepts_a_recipe_without_one(
    vqgen, judged, classifier_toml, tiny_toml
):
    root = judged.parent
    assert (
        "skip, complete"
        in vqgen("run", classifier_toml, "--checkpoints", root, "--dry-run").out.split("classifier")[-1]
    )
    tiny_toml.write_text(tomli_w.dumps(small_document()))
    finished = vqgen("run", tiny_toml, "--checkpoints", root)
    assert finished.code == 0, finished.err
    assert VQGenPipeline.from_pretrained(judged, device="cpu").parts.classifier is not None
    changed = vqgen("train-classifier", classifier_toml, "--checkpoints", root, "--classifier.channels", "16")
    assert_refused(changed, "classifier.channels: 8 -> 16", "--redo")


def test_samples_of_a_run_are_chosen_and_guided(vqgen, judged, classifier_toml):
    drawn = ("--generate.keep", "0.5", "--generate.guidance-scale", "2", "--generate.temperature", "0.2")
    finished = vqgen("run", classifier_toml, "--checkpoints", judged.parent, *drawn, "--redo", "--quiet")
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


def test_run_stores_its_guides_and_samples_with_them(vqgen, judged, classifier_toml, tmp_path):
    root = judged.parent
    shares = ("--priors.0.guide-share", "0.5", "--priors.1.guide-share", "0.5")
    words = ("run", classifier_toml, "--checkpoints", root, *shares, "--generate.autoguidance-scale", "3", "--quiet")
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
    redone = vqgen("run", classifier_toml, "--checkpoints", root, *shares, *words[-3:], "--redo")
    assert redone.code == 0, redone.err
    now = json.loads((judged / "pipeline" / "pipeline.json").read_text())["sha256"]
    assert {name for name in hashes if now[name] != hashes[name]} == {"guide-top", "guide-bottom"}
    assert "samples: 20 images" in redone.out
    assert not np.array_equal(pixels(judged / "samples" / "grid.png"), guided)


def test_guide_that_patience_forestalled_is_missing_with_a_warning(vqgen, trained, classifier_toml, tmp_path):
    shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")
    hasty = ("--patience", 1, "--validate-every", 1, "--learning-rate", 10)
    train = [word.replace("--", "--priors.0.train.") if isinstance(word, str) else word for word in hasty]
    words = (
        "train-prior",
        classifier_toml,
        "--level",
        "top",
        "--checkpoints",
        tmp_path / "checkpoints",
        "--redo",
        *train,
    )
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


def test_guided_request_is_the_same_in_any_batch(vqgen, trained, tmp_path):
    pipe = VQGenPipeline.from_pretrained(trained, device="cpu", dtype="float64")
    one, other = (pipe(["3", None], 3, guidance_scale=2.0, batch_size=size) for size in (2, 100))
    assert torch.equal(one.codes.bottom, other.codes.bottom)
