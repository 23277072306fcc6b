import argparse
import json
from dataclasses import asdict, fields

import pytest
import tomli_w

from vqgen.commands import plan
from vqgen.data import ImageCounts
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.planning.budget_choice import BudgetChoice, Tried
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_times import StageTime
from vqgen.planning.build import build_planner
from vqgen.planning.plans import StagePlan
from vqgen.planning.text import plan_text
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

MACHINE = Machine(matmul_flops=1e9, convolution_flops=2e9, bandwidth=3e9)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Plans a recipe on a device of the speeds of `MACHINE`."""
    monkeypatch.setattr("vqgen.planning.build.measure_machine", lambda device, dtype: MACHINE)

    def run_command(recipe, *words, overrides=()):
        parser = argparse.ArgumentParser()
        plan.add_arguments(parser)
        arguments = parser.parse_args([str(recipe), "--checkpoints", str(tmp_path), "--device", "cpu", *words])
        arguments.overrides = list(overrides)
        return plan.run(arguments)

    return run_command


@pytest.fixture
def recipe(tiny_document, tmp_path):
    """Writes the tiny recipe as a file, with given sections."""

    def write(**changes):
        path = tmp_path / "tiny.toml"
        path.write_text(tomli_w.dumps(tiny_document(**changes)))
        return path

    return write


@pytest.fixture
def document(run, tmp_path):
    """Returns the JSON document of a plan."""

    def plan_it(recipe, *words, **options):
        assert run(recipe, *words, "--json", str(tmp_path / "plan.json"), "--overwrite", **options) == 0
        return json.loads((tmp_path / "plan.json").read_text())

    return plan_it


def test_document_has_the_recipe_the_device_and_every_stage(document, recipe, tiny_recipe):
    found = document(recipe(), "--dtype", "bfloat16")
    assert list(found) == ["recipe", "device", "dtype", "images", "machine", "stages"]
    assert found["recipe"] == tiny_recipe().model_dump(mode="json")
    assert (found["device"], found["dtype"]) == ("cpu", "bfloat16")
    assert list(found["images"]) == ["train", "validation", "test", "classes"]
    assert found["machine"] == asdict(MACHINE)
    assert [stage["stage"] for stage in found["stages"]] == list(tiny_recipe().stage_names)
    assert {tuple(stage) for stage in found["stages"]} == {tuple(field.name for field in fields(StagePlan))}


def test_document_without_measuring_has_no_machine_and_no_times(document, recipe):
    found = document(recipe(), "--no-measure")
    assert found["machine"] is None
    assert {stage["seconds"] for stage in found["stages"]} == {None}


def test_document_of_images_that_are_absent_has_no_counts(document, recipe):
    assert document(recipe(data={"source": "folder"}), "--no-measure")["images"] is None


def test_document_of_a_baseline_has_the_same_keys(document):
    found = document("digits-vae")
    assert list(found) == ["recipe", "device", "dtype", "images", "machine", "stages"]
    assert "autoencoder" in [stage["stage"] for stage in found["stages"]]


def test_override_reaches_the_plan(document, recipe):
    plain = document(recipe())
    changed = document(recipe(), overrides=["--vqvae.train.steps", "8"])
    assert changed["recipe"]["vqvae"]["train"]["steps"] == 8
    assert plain["stages"][0]["total_flops"] < changed["stages"][0]["total_flops"]


def test_text_is_that_of_the_planner_and_no_file_is_written(run, recipe, tiny_recipe, tmp_path, capsys):
    path = recipe()
    before = sorted(tmp_path.iterdir())
    assert run(path) == 0
    planner = build_planner(tiny_recipe(), Compute.resolve("cpu"), {})
    printed = capsys.readouterr().out
    assert printed.startswith(f"tiny -> {tmp_path / 'tiny'} (seed 0)\n")
    assert printed.endswith(plan_text(planner, planner.stages()) + "\n")
    assert sorted(tmp_path.iterdir()) == before


def test_folder_of_the_plan_has_the_run_name(run, recipe, tmp_path, capsys):
    assert run(recipe(), "--run-name", "second", "--no-measure") == 0
    assert capsys.readouterr().out.startswith(f"tiny -> {tmp_path / 'second'} ")


def test_warning_of_the_recipe_is_raised(run, recipe):
    with pytest.warns(VQGenWarning, match=r"priors\.1 \(bottom\) has a blind spot"):
        run(recipe(), "--no-measure", overrides=["--priors.1.attention-every", "0", "--priors.1.kernel-size", "3"])


@pytest.fixture
def chosen(monkeypatch, tiny_recipe):
    """Chooses the tiny recipe with another seed, without measuring."""
    recipe = tiny_recipe(seed=11)
    pictures = Pictures(ImageCounts(9, 1, 0, 2), 8, True, 0.0, ())
    choice = BudgetChoice("tiny", 0.5, recipe, (StageTime("vqvae", 5.0),), 5.0, (Tried("tiny", 3.0, True),))
    monkeypatch.setattr("vqgen.stages.budgeted_run.choose_for", lambda *arguments, **options: (choice, pictures))
    return recipe


def test_budget_gives_the_plan_of_the_recipe_that_it_chooses(document, recipe, chosen, tmp_path, capsys):
    path = recipe()
    before = sorted(tmp_path.iterdir())
    assert document(path, "--budget", "10m")["recipe"] == chosen.model_dump(mode="json")
    printed = capsys.readouterr().out
    assert printed.startswith("budget 10m: tiny, with 50 % of its usual steps")
    assert "(seed 11)" in printed
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "plan.json"])


def test_budget_without_measuring_is_refused(run, recipe, chosen):
    with pytest.raises(ConfigError, match="--no-measure: should be left out with --budget"):
        run(recipe(), "--budget", "10m", "--no-measure")


def test_budget_without_a_folder_of_pictures_is_refused(run, chosen):
    with pytest.raises(ConfigError, match=r"data\.root: should be a folder of images"):
        run("folder", "--budget", "10m")


def test_file_that_exists_is_refused_before_anything_is_measured(call, tmp_path):
    (tmp_path / "plan.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"plan\.json: exists; --overwrite replaces"):
        call(plan, "nowhere", "--json", tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text() == "mine"
