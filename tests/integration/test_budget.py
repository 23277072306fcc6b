"""A run within a time: the choice, its record, a second start, and wrong budgets."""

import json
import tomllib

import pytest
from small_runs import all_files, assert_refused, final_hashes, record, run_installed, save_picture

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs


@pytest.fixture
def photos(tmp_path):
    """Forty small pictures of two labels."""
    root = tmp_path / "photos"
    for number in range(40):
        save_picture(root / "ab"[number % 2] / f"{number:02}.png", number, grey=True)
    return root


def budget_of(run):
    return json.loads((run / "budget.json").read_text())


def recipe_of(run):
    return tomllib.loads((run / "recipe.toml").read_text())


def test_recipe_that_fits_has_the_results_of_a_run_without_a_budget(vqgen, tiny_toml, trained, tmp_path):
    """Limits of time that are not reached change no bit."""
    finished = vqgen("run", tiny_toml, "--checkpoints", tmp_path / "runs", "--budget", "1h", "--parallel-stages", "1")
    assert finished.code == 0, finished.err
    run = tmp_path / "runs" / "tiny"
    assert final_hashes(run) == final_hashes(trained)
    assert "budget 1h: the recipe itself, with all of its steps" in finished.out
    assert "budget 60 min: took" in finished.out
    assert "max_seconds" not in recipe_of(run)["vqvae"]["train"]  # a limit is gone once its training is complete
    assert len(budget_of(run)["sessions"]) == 1


def test_second_start_skips_every_stage_with_the_recipe_that_was_chosen(vqgen, tiny_toml, tmp_path):
    words = ("run", tiny_toml, "--checkpoints", tmp_path / "runs", "--budget", "1h", "--vqvae.train.steps", "30")
    assert vqgen(*words).code == 0
    run = tmp_path / "runs" / "tiny"
    before = {name: file for name, file in all_files(run).items() if "/" in name}
    finished = vqgen(*words)
    assert finished.code == 0, finished.err
    assert "goes on with the recipe that was chosen" in finished.out
    assert "vqvae: complete" in finished.out
    assert {name: file for name, file in all_files(run).items() if "/" in name} == before
    assert len(budget_of(run)["sessions"]) == 2


@pytest.mark.slow
def test_other_budget_in_the_same_folder_is_refused_and_changes_nothing(vqgen, tiny_toml, tmp_path):
    words = ("run", tiny_toml, "--checkpoints", tmp_path / "runs")
    assert vqgen(*words, "--budget", "1h").code == 0
    before = all_files(tmp_path)
    assert_refused(vqgen(*words, "--budget", "2h"), "another budget", "budget: 3600.0 -> 7200.0", "--redo")
    assert all_files(tmp_path) == before


@pytest.mark.slow
def test_plan_shows_the_choice_and_writes_nothing(vqgen, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = all_files(tmp_path)
    finished = vqgen("plan", "folder", "--data.root", photos, "--budget", "20m", "--data.image-size", "24")
    assert finished.code == 0, finished.err
    assert finished.out.startswith("budget 20m: ")
    assert "36 pictures to train on and 4 held out" in finished.out
    assert "24 x 24, grey" in finished.out
    assert all_files(tmp_path) == before


@pytest.mark.parametrize(
    ("budget", "part"),
    [
        ("0m", "argument --budget: should be above 0, found '0m'"),
        ("45", "should be a time with its units, like 45m, 2h, 1h30m or 90s, found '45'"),
        ("soon", "found 'soon'"),
        ("5s", "--budget: should be at least"),
    ],
)
def test_wrong_budget_is_refused_and_leaves_nothing(vqgen, photos, tmp_path, monkeypatch, budget, part):
    monkeypatch.chdir(tmp_path)
    before = all_files(tmp_path)
    assert_refused(vqgen("run", "folder", "--data.root", photos, "--budget", budget), part)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("words", [("digits", "--budget"), ("folder", "--budget", "10m")])
def test_budget_without_a_time_or_without_pictures_is_refused(vqgen, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert vqgen("run", *words).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_run_of_forty_pictures_ends_with_samples_and_figures(photos, tmp_path):
    """Nothing is asserted about its time but a bound that only a hang would exceed."""
    words = ("run", "folder", "--data.root", photos, "--budget", "45s", "--checkpoints", tmp_path / "runs")
    finished = run_installed(*words, timeout=900)
    assert finished.code == 0, finished.err
    run = tmp_path / "runs" / "folder"
    for name in ("samples/grid.png", "vqvae/losses.png", "vqvae/reconstructions.png", "prior-bottom/losses.png"):
        assert (run / name).is_file(), name
    document = budget_of(run)
    stages = [time["stage"] for time in document["times"]][1:]
    assert stages == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]
    (session,) = document["sessions"]
    trained = [record(run / stage)["seconds"] for stage in ("vqvae", "prior-top", "prior-bottom", "classifier")]
    assert max(trained) < session < 900
    for stage in ("vqvae", "prior-top", "prior-bottom"):
        planned = next(time["steps"] for time in document["times"] if time["stage"] == stage)
        assert 0 < record(run / stage)["metrics"]["steps"] <= planned
    again = run_installed(*words, timeout=900)
    assert again.code == 0, again.err
    assert again.out.count(": complete") == len(stages)
