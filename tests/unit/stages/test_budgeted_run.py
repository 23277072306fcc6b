import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tomli_w

from vqgen.config import stage_fields
from vqgen.data import ImageCounts
from vqgen.errors import CheckpointError, ConfigError
from vqgen.planning.budget import FILE, BudgetRecord
from vqgen.planning.budget_choice import BudgetChoice, TooShortError, Tried
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import training_sections
from vqgen.planning.budget_times import ONE_BY_ONE, Places, StageTime
from vqgen.runtime.compute import Compute
from vqgen.runtime.processes import make_accelerator
from vqgen.stages import budgeted_run
from vqgen.stages.budgeted_run import BudgetRequest, RunBudget, choose_for, places_of, stage_seconds
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord

CPU = Compute.resolve("cpu")
TIMES = (
    StageTime("vqvae", 50.0, 4, 10.0, 40.0),
    StageTime("codes", 10.0),
    StageTime("prior-top", 20.0, 4, 5.0, 20.0),
    StageTime("prior-bottom", 15.0, 4, 2.0, 10.0),
    StageTime("samples", 5.0),
)
PICTURES = Pictures(ImageCounts(1617, 180, 0, 10), 8, True, 0.0, ())


@pytest.fixture
def context(tiny_recipe, tmp_path):
    return RunContext(tiny_recipe(), tmp_path / "run", CPU, make_accelerator(CPU), quiet=True)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still at 0 until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(budgeted_run.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def choices(monkeypatch, tiny_recipe):
    """The choices that are made, without measuring: half of the steps of the recipe."""
    made = []

    def choose(request, compute, *, places, processes=1):
        made.append(request.left())
        recipe = tiny_recipe(vqvae={"train": {"steps": 2}})
        return BudgetChoice("tiny", 0.5, recipe, TIMES, 100.0, (Tried("tiny", 50.0, True),)), PICTURES

    monkeypatch.setattr(budgeted_run, "choose_for", choose)
    return made


@pytest.fixture
def request_200(tiny_document, tmp_path):
    """A budget of 200 s that begins at 0."""
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tiny_document()))
    return BudgetRequest(200.0, str(path), (), 0.0)


def trained(context, stage, seconds, *, complete=True):
    fields = stage_fields(context.recipe, stage)
    record = StageRecord(stage, fields, {}, {}, complete=complete, seconds=seconds)
    record.write(context.folder / stage)


def limits(recipe):
    """Returns the limit of each stage that trains."""
    return {stage: train.max_seconds for stage, train in training_sections(recipe)}


@pytest.fixture
def stages(monkeypatch, clock):
    """Runs of groups of stages: each stage takes the seconds that `slow` has for it, and leaves a record."""
    # One stage after the other, however many cores this machine has.
    monkeypatch.setattr(budgeted_run, "places_of", lambda *given: ONE_BY_ONE)
    done = []
    slow = dict.fromkeys(["vqvae", "codes", "prior-top", "prior-bottom", "samples"], 10.0)

    def run_stages(context, group):
        found = {stage: limits(context.recipe).get(stage) for stage in group}
        done.append(found)
        for stage in group:
            if isinstance(slow[stage], Exception):
                raise slow[stage]
            clock[0] += slow[stage]
            trained(context, stage, slow[stage])

    monkeypatch.setattr("vqgen.stages.budgeted_run.run_stages", run_stages)
    return SimpleNamespace(done=done, slow=slow)


def started(request, context):
    """Prepares and runs a budget, and returns the run that it prepared."""
    budget = RunBudget(request)
    prepared = budget.prepare(context)
    budget.run(prepared)
    return prepared


def test_prepared_run_has_the_chosen_recipe_and_nothing_is_written(context, choices, request_200, clock):
    prepared = RunBudget(request_200).prepare(context)
    assert prepared.recipe.vqvae.train.steps == 2
    assert context.recipe.vqvae.train.steps == 4
    assert not context.folder.exists()


def test_choice_has_the_time_that_is_left_without_the_margin(context, choices, request_200, clock):
    clock[0] = 30.0
    RunBudget(replace(request_200, begin=10.0)).prepare(context)
    assert choices == [pytest.approx(200 * 0.94 - 20.5)]


def test_each_group_of_stages_gets_its_share_of_the_time_that_is_left(context, choices, request_200, clock, stages):
    clock[0] = 20.0
    started(request_200, context)
    assert [list(group) for group in stages.done] == [["vqvae"], ["codes"], ["prior-top", "prior-bottom"], ["samples"]]
    assert stages.done[0]["vqvae"] == pytest.approx(40 * (200 - 20.5) / 100, abs=0.06)
    # Two stages took 20 s. The priors have the rest of the budget, except the share of the samples.
    factor = (200 - 40.5) / 40
    assert stages.done[2] == pytest.approx({"prior-top": 20 * factor, "prior-bottom": 10 * factor}, abs=0.06)


def test_slow_stage_leaves_less_for_the_next_ones(context, choices, request_200, clock, stages):
    stages.slow["codes"] = 150.0
    started(request_200, context)
    factor = (200 - 160.5) / 40
    assert stages.done[2] == pytest.approx({"prior-top": 20 * factor, "prior-bottom": 10 * factor}, abs=0.06)


def test_all_groups_are_parts_of_one_run_which_opens_its_images_once(context, choices, request_200, clock, monkeypatch):
    seen = []
    monkeypatch.setattr("vqgen.stages.budgeted_run.run_stages", lambda run, group: seen.append(id(run)))
    started(request_200, context)
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_record_is_written_before_the_work_and_gets_the_time_of_the_session(
    context, choices, request_200, clock, stages, capsys, monkeypatch
):
    seen = []

    def run_stages(run, group):
        seen.append(BudgetRecord.read(run.folder).sessions)
        clock[0] += 20.0

    monkeypatch.setattr("vqgen.stages.budgeted_run.run_stages", run_stages)
    started(request_200, context)
    assert seen == [[]] * 4
    assert BudgetRecord.read(context.folder).sessions == [80.5]
    assert "budget 3.3 min: took 1.3 min" in capsys.readouterr().out


def test_failed_session_counts_too(context, choices, request_200, clock, stages):
    stages.slow["prior-top"] = CheckpointError("no")
    with pytest.raises(CheckpointError):
        started(request_200, context)
    assert BudgetRecord.read(context.folder).sessions == [20.5]


def test_second_start_keeps_the_choice_and_counts_the_time_used(context, choices, request_200, clock, stages, capsys):
    stages.slow["codes"] = CheckpointError("cut")
    stages.slow["vqvae"] = 60.0
    with pytest.raises(CheckpointError):
        started(request_200, context)
    stages.slow["codes"] = 10.0
    stages.done.clear()
    clock[0] = 1000.0
    again = started(replace(request_200, begin=1000.0), context)
    assert len(choices) == 1
    assert "goes on with the recipe that was chosen" in capsys.readouterr().out
    assert again.recipe.vqvae.train.steps == 2
    assert stages.done[0] == {"vqvae": None}  # complete
    left = 200 - 60.5 - 60.0 - 10.0 - 0.5  # the stand-in does the complete stage again
    assert stages.done[2]["prior-top"] == pytest.approx(20 * left / 40, abs=0.06)


def test_killed_session_counts_by_the_time_of_its_stages(context, choices, request_200, clock, stages, monkeypatch):
    budget = RunBudget(request_200)
    prepared = budget.prepare(context)
    budget._record.write(context.folder)  # killed: no time was noted
    trained(prepared, "vqvae", 100.0)
    started(request_200, context)
    assert stages.done[1] == {"codes": None}
    left = 200 - 100 - 20 - 0.5
    assert stages.done[2]["prior-top"] == pytest.approx(20 * left / 40, abs=0.06)


def test_run_has_to_be_prepared(context, request_200):
    with pytest.raises(AssertionError, match="prepare comes first"):
        RunBudget(request_200).run(context)


@pytest.mark.parametrize("change", ["budget", "recipe"])
def test_other_request_in_the_same_folder_is_refused_with_the_difference(
    context, choices, request_200, clock, stages, change
):
    started(request_200, context)
    before = (context.folder / FILE).read_bytes()
    if change == "budget":
        request_200 = replace(request_200, seconds=300.0)
        difference = "budget: 200.0 -> 300.0"
    else:
        context.recipe = context.recipe.model_copy(update={"seed": 5})
        difference = "seed: 0 -> 5"
    with pytest.raises(CheckpointError, match="another budget, recipe or other pictures") as refused:
        RunBudget(request_200).prepare(context)
    assert difference in str(refused.value)
    assert "--redo" in str(refused.value)
    assert (context.folder / FILE).read_bytes() == before


def test_redo_chooses_anew(context, choices, request_200, clock, stages):
    started(request_200, context)
    context.redo = True
    RunBudget(request_200).prepare(context)
    assert len(choices) == 1  # nothing changed
    request_200 = replace(request_200, seconds=300.0)
    RunBudget(request_200).prepare(context)
    assert len(choices) == 2


def test_runtime_fields_of_the_second_start_are_taken(context, choices, request_200, clock, stages):
    started(request_200, context)
    moved = replace(request_200, overrides=("--data.root", "moved"))
    assert RunBudget(moved).prepare(context).recipe.data.root == "moved"


def test_too_short_budget_is_refused_with_the_least_that_is_possible(request_200, clock, monkeypatch):
    def refuse(*positional, **named):
        raise TooShortError(60.0)

    monkeypatch.setattr("vqgen.stages.budgeted_run.choose_recipe", refuse)
    clock[0] = 10.0
    with pytest.raises(ConfigError, match=r"--budget: should be at least 75s, .* found 5s"):
        choose_for(replace(request_200, seconds=5.0), CPU, places=ONE_BY_ONE)


@pytest.mark.parametrize(("recipe", "is_free"), [("folder", True), ("digits", False)])
def test_only_the_recipe_for_any_folder_is_free(request_200, monkeypatch, recipe, is_free):
    seen = []

    def choose(base, keep, compute, left, **options):
        seen.append((keep(base).seed, options["is_free"]))
        return BudgetChoice("whole", 1.0, base, TIMES, 100.0, ()), PICTURES

    monkeypatch.setattr("vqgen.stages.budgeted_run.choose_recipe", choose)
    request = replace(request_200, recipe=recipe, overrides=("--seed", "4"))
    assert choose_for(request, CPU, places=ONE_BY_ONE)[0].recipe.name == recipe
    assert seen == [(4, is_free)]


def test_places_are_cores_a_given_number_or_one_for_a_launcher(context, monkeypatch):
    monkeypatch.setattr("vqgen.stages.budgeted_run.available_cores", lambda: 3)
    assert places_of(CPU) == places_of(CPU, context) == Places(3, 3)
    context.parallel_stages = 2
    assert places_of(CPU, context) == Places(6, 2)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert places_of(CPU, context) == ONE_BY_ONE


def test_stages_of_another_recipe_do_not_count(context):
    for stage in ("vqvae", "codes", "prior-top"):
        trained(context, stage, 12.0)
    other = context.recipe.model_copy(update={"seed": 5})
    assert stage_seconds(context, other) == ({}, [])
    priors = tuple(prior.model_copy(update={"layers": 3}) for prior in context.recipe.priors)
    other = context.recipe.model_copy(update={"priors": priors})
    assert stage_seconds(context, other) == ({"vqvae": 12.0, "codes": 12.0}, ["vqvae", "codes"])


def test_time_of_stages_is_that_of_their_records(context):
    trained(context, "vqvae", 12.0)
    trained(context, "prior-top", None, complete=False)
    assert stage_seconds(context, context.recipe) == ({"vqvae": 12.0, "prior-top": 0.0}, ["vqvae"])


def test_record_is_a_document_that_anyone_can_read(context, choices, request_200, clock, stages):
    started(request_200, context)
    document = json.loads((context.folder / FILE).read_text())
    assert document["request"]["budget"] == 200
    assert document["recipe"]["vqvae"]["train"]["steps"] == 2
    assert document["reasons"][0].startswith("budget 3m20s: tiny")
