"""`vqgen plan` on a machine that has neither the images nor the run."""

import json
import re

import pytest
from small_runs import all_files, assert_refused, record


def row(text: str, stage: str) -> list[str]:
    """Returns the cells of a stage's line in the table, without the name of the stage."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    (cells,) = [cells[1:] for cells in lines if cells[0] == stage and len(cells) == 11]
    return cells


def test_plan_of_digits_has_costs_rates_and_time(vqgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = vqgen("plan", "digits")
    assert finished.code == 0, finished.err
    assert row(finished.out, "vqvae")[0] == "417,841"
    assert row(finished.out, "prior-top")[6] == "1"
    assert row(finished.out, "prior-bottom")[6] == "10"
    assert row(finished.out, "samples")[6] == "11"
    assert row(finished.out, "samples")[8] == "<= 0.3984"  # 17 codes of 6 bits on 16 x 16 pixels
    assert re.search(r"time: about \d+(\.\d+)? (s|min|h) in one process", finished.out)
    assert "Traceback" not in finished.err
    assert list(tmp_path.iterdir()) == []


def test_json_has_the_plan_of_every_stage(vqgen, tmp_path):
    target = tmp_path / "plan.json"
    assert vqgen("plan", "digits", "--no-measure", "--json", target, "--priors.0.layers", 6).code == 0
    document = json.loads(target.read_text())
    assert document["recipe"]["priors"][0]["layers"] == 6
    assert document["machine"] is None
    assert document["images"]["classes"] == 10
    stages = {stage["stage"]: stage for stage in document["stages"]}
    assert list(stages) == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]
    assert stages["prior-top"]["seconds"] is None
    assert stages["prior-bottom"]["open_flops"] < stages["prior-bottom"]["image_flops"]


@pytest.mark.parametrize("recipe", ["fashion-mnist", "cifar10", "folder"])
def test_recipe_without_its_images_has_a_plan(vqgen, tmp_path, monkeypatch, recipe):
    monkeypatch.chdir(tmp_path)
    finished = vqgen("plan", recipe, "--no-measure")
    assert finished.code == 0, finished.err
    assert row(finished.out, "prior-bottom")
    assert ("images: not known" in finished.out) == (recipe == "folder")
    assert list(tmp_path.iterdir()) == []


def test_rates_of_a_complete_run_are_shown(vqgen, trained, tiny_toml):
    before = all_files(trained)
    finished = vqgen("plan", tiny_toml, "--checkpoints", trained.parent, "--no-measure")
    bpp = [record(trained / f"prior-{level}")["metrics"]["val_bpp"] for level in ("top", "bottom")]
    assert row(finished.out, "prior-top")[8] == f"{bpp[0]:.4g}"
    assert row(finished.out, "samples")[8] == f"{sum(bpp):.4g}"
    assert all_files(trained) == before


@pytest.mark.slow
def test_dry_run_shows_the_same_plan(vqgen, tmp_path):
    words = ("digits", "--checkpoints", tmp_path)
    dry = vqgen("run", *words, "--dry-run").out
    plan = vqgen("plan", *words).out
    for stage in ("vqvae", "prior-top", "prior-bottom"):
        assert row(dry, stage)[:-1] == row(plan, stage)[:-1]  # the time is measured anew


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["plan"], ["required: RECIPE"]),
        (["plan", "digit"], ["found 'digit'", "digits"]),
        (["plan", "digits", "--priors.0.layers", "many"], ["--priors.0.layers", "many"]),
        (["plan", "digits", "--nonsense"], ["--nonsense"]),
        (["plan", "digits", "--data.image-size", "18"], ["data.image_size", "divide by 16", "found 18"]),
        (["plan", "digits", "--device", "nonsense"], ["device", "'nonsense'"]),
        (["plan", "digits", "--dtype", "nonsense"], ["dtype", "'nonsense'"]),
        (["plan", "digits", "--run-name", "../x"], ["--run-name", "found '../x'"]),
    ],
)
def test_wrong_arguments_are_refused(vqgen, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    assert_refused(vqgen(*words), *parts)
    assert list(tmp_path.iterdir()) == []
