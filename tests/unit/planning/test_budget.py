import json

import pytest

from vqgen.config import find_recipe, read_recipe
from vqgen.data import ImageCounts
from vqgen.errors import CheckpointError
from vqgen.planning import budget, budget_meter
from vqgen.planning.budget import FILE, BudgetRecord, choose_recipe, request_of
from vqgen.planning.budget_choice import TooShortError
from vqgen.planning.budget_times import StageTime
from vqgen.planning.build import build_planner
from vqgen.runtime.compute import Compute

COUNTS = ImageCounts(450, 50, 0, 5)


def record(recipe, **changes):
    settings = {
        "request": {"budget": 90.0, "vqvae.downsample": [4, 2]},
        "recipe": recipe.model_dump(mode="json"),
        "times": (StageTime("vqvae", 70.0, 1200, 0.05, 60.0), StageTime("codes", 3.0)),
        "reasons": ["because"],
        "sessions": [12.5],
    }
    return BudgetRecord(**(settings | changes))


def test_record_comes_back_from_its_file(tiny_recipe, tmp_path):
    written = record(tiny_recipe())
    written.write(tmp_path)
    found = BudgetRecord.read(tmp_path)
    assert found == written
    assert found.chosen == tiny_recipe()


def test_run_without_a_budget_has_no_record(tmp_path):
    assert BudgetRecord.read(tmp_path) is None


@pytest.mark.parametrize("change", [{"times": [{"stage": "vqvae"}]}, {"more": 1}, {"times": 3}])
def test_damaged_record_is_refused(tiny_recipe, tmp_path, change):
    record(tiny_recipe()).write(tmp_path)
    document = json.loads((tmp_path / FILE).read_text()) | change
    (tmp_path / FILE).write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="is not the record of a budget"):
        BudgetRecord.read(tmp_path)


def test_record_of_another_version_is_refused(tmp_path):
    (tmp_path / FILE).write_text('{"format_version": 2}')
    with pytest.raises(CheckpointError, match="should have format_version 1, found 2"):
        BudgetRecord.read(tmp_path)


def test_request_is_the_same_after_json_and_without_runtime_fields(tiny_recipe):
    request = request_of(90.0, tiny_recipe(), COUNTS)
    assert json.loads(json.dumps(request)) == request
    assert request_of(90.0, tiny_recipe(data={"root": "elsewhere"}), COUNTS) == request


@pytest.mark.parametrize("changed", ["budget", "field", "images"])
def test_request_names_everything_that_a_choice_depends_on(tiny_recipe, changed):
    before = request_of(90.0, tiny_recipe(), COUNTS)
    after = {
        "budget": lambda: request_of(91.0, tiny_recipe(), COUNTS),
        "field": lambda: request_of(90.0, tiny_recipe(priors=[{"layers": 3}] * 2), COUNTS),
        "images": lambda: request_of(90.0, tiny_recipe(), ImageCounts(451, 50, 0, 5)),
    }[changed]()
    assert before != after


@pytest.fixture
def fast(monkeypatch, machine):
    """Measures each piece in a few calls, and the peak of the device not at all."""
    monkeypatch.setattr(budget, "measure_machine", lambda device: machine)
    monkeypatch.setattr(budget, "LONGEST", 1e-4)
    monkeypatch.setattr(budget_meter, "_kept", {})


@pytest.mark.slow
def test_recipe_is_chosen_on_this_machine(fast, tiny_recipe):
    recipe = tiny_recipe()
    choice, pictures = choose_recipe(recipe, lambda r: r, Compute.resolve("cpu"), lambda: 1e5, is_free=False, cores=1)
    assert choice.name == "the recipe itself"
    assert pictures.counts.classes == 10
    assert [time.stage for time in choice.times][1:] == recipe.stage_names


def test_baseline_is_chosen_on_this_machine(fast):
    recipe = read_recipe(find_recipe("digits-vae"))
    choice, _ = choose_recipe(recipe, lambda r: r, Compute.resolve("cpu"), lambda: 1e5, is_free=False, cores=1)
    assert choice.recipe.autoencoder.channels == recipe.autoencoder.channels


def test_time_for_nothing_is_refused(fast, tiny_recipe):
    with pytest.raises(TooShortError) as refused:
        choose_recipe(tiny_recipe(), lambda r: r, Compute.resolve("cpu"), lambda: 0.1, is_free=False, cores=1)
    assert refused.value.least_seconds > 0.1


@pytest.mark.slow
def test_size_that_exceeds_the_memory_is_left_out_and_named(fast, tiny_recipe, monkeypatch):
    recipe = tiny_recipe(vqvae={"channels": 64}, priors=[{"channels": 64}] * 2)

    def choose(free):
        monkeypatch.setattr(Compute, "free_memory", property(lambda self: free))
        choice, _ = choose_recipe(recipe, lambda r: r, Compute.resolve("cpu"), lambda: 1e5, is_free=False, cores=1)
        return choice

    assert choose(10**12).name == "the recipe itself"
    assert choose(10**12).too_large == ""
    planner = build_planner(recipe, Compute.resolve("cpu"), {}, measure=False)
    needed = max(stage.training_bytes or 0 for stage in planner.stages())
    assert choose(needed).name == "the recipe itself"
    smaller = choose(needed - 1)
    assert smaller.name == "the recipe with 75 % of its channels"
    assert smaller.too_large.startswith("the recipe itself: not chosen; it needs ")
    # The smallest size is chosen however little memory there is: an estimate does not forbid a run.
    assert choose(0).name == choose(1).name
