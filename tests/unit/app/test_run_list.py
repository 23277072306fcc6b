import json
import os
import time

import pytest

from vqgen.app import run_list
from vqgen.app.run_list import REPORT, curves_stamp, find_run, list_runs, read_report, run_charts
from vqgen.config import save_recipe
from vqgen.errors import DataError


def reopened(folder, stage):
    """Marks a stage as one that has not ended."""
    path = folder / stage / "stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"complete": False}))


def test_complete_run_is_listed_with_its_report(run_folder):
    (run,) = list_runs(run_folder.parent)
    assert (run.name, run.state, run.is_training, run.has_report) == ("noise", "complete", False, True)


def test_run_that_writes_steps_is_training_and_later_it_is_stopped(run_folder):
    reopened(run_folder, "prior-bottom")
    (now,) = list_runs(run_folder.parent)
    assert (now.state, now.is_training) == ("training prior of bottom, step 4", True)
    (later,) = list_runs(run_folder.parent, time.time() + 1000)
    assert (later.state, later.is_training) == ("stopped in prior of bottom, step 4", False)


def test_run_between_two_stages_names_the_next_one(run_folder):
    (run_folder / "prior-bottom" / "stage.json").unlink()
    (run,) = list_runs(run_folder.parent)
    assert run.state == "next is prior of bottom"


def test_run_that_has_not_begun_and_a_damaged_one_are_listed(tmp_path):
    for name in ("new", "damaged"):
        (tmp_path / name / "vqvae").mkdir(parents=True)
        (tmp_path / name / "recipe.toml").write_text("nonsense = [" if name == "damaged" else "")
    (tmp_path / "damaged" / "vqvae" / "stage.json").write_text("{")
    states = {run.name: run.state for run in list_runs(tmp_path)}
    assert states["new"] == "not begun"
    assert states["damaged"].startswith("cannot be read: ")


def test_newest_run_comes_first_and_other_folders_are_left_out(tmp_path):
    for place, name in enumerate(("old", "new", ".hidden")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text("")
        for path in (tmp_path / name / "recipe.toml", tmp_path / name):
            os.utime(path, (1000 * place, 1000 * place))
    (tmp_path / "no-run").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["new", "old"]
    assert list_runs(tmp_path / "missing") == []


@pytest.mark.parametrize("name", ["../noise", "/etc", "", None, "noise/vqvae", "<b>"])
def test_only_names_of_the_list_are_found(run_folder, name):
    assert find_run(run_folder.parent, "noise") == run_folder
    with pytest.raises(DataError, match="run: should be one of the list"):
        find_run(run_folder.parent, name)


def test_curves_are_those_of_all_trainings_and_their_stamp_grows(run_folder):
    assert any("VQ-VAE" in chart.title for chart in run_charts(run_folder))
    before = curves_stamp(run_folder)
    with (run_folder / "vqvae" / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    assert curves_stamp(run_folder) != before


def test_run_without_a_stage_has_no_curves(tmp_path, tiny_recipe):
    save_recipe(tiny_recipe(), tmp_path / "recipe.toml")
    assert run_charts(tmp_path) == []
    assert curves_stamp(tmp_path) == ()


def test_report_is_read_unless_it_is_missing_or_too_large(run_folder, monkeypatch):
    assert read_report(run_folder).startswith("<!DOCTYPE html>")
    monkeypatch.setattr(run_list, "_MOST_REPORT_BYTES", 10)
    with pytest.raises(DataError, match=r"report\.html: should have at most"):
        read_report(run_folder)
    (run_folder / REPORT).unlink()
    assert read_report(run_folder) is None
