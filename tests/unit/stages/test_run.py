import json

import pytest

from vqgen.errors import CheckpointError, ConfigError
from vqgen.runtime.children import Needs, Room
from vqgen.stages import run as run_module
from vqgen.stages.run import planned_schedules, run_all, run_locked, run_stages, stages_to_do
from vqgen.stages.schedule import PlannedStage, Schedule

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom"]


@pytest.fixture
def called(monkeypatch):
    """Notes the stages that run in this process, and the schedules that run side by side, instead of the work."""
    names = []
    monkeypatch.setattr(run_module, "run_one", lambda context, stage: names.append(stage))
    monkeypatch.setattr(
        run_module,
        "run_side_by_side",
        lambda context, schedule: names.append(tuple(each.stage for each in schedule.stages)),
    )
    return names


@pytest.fixture
def room(monkeypatch):
    """Sets the number of stages that the machine has room for, whatever the machine is."""

    def build(most):
        def make_schedule(context, stages):
            number = min(most, context.parallel_stages or most)
            return Schedule(tuple(PlannedStage(stage, Needs(), 1.0) for stage in stages), Room(number))

        monkeypatch.setattr(run_module, "make_schedule", make_schedule)

    return build


def test_stages_run_in_the_order_of_the_recipe(make_context, tiny_recipe, baseline_recipe, called, room):
    room(1)
    run_all(make_context(tiny_recipe(classifier={})))
    assert called == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]
    called.clear()
    run_all(make_context(baseline_recipe()))
    assert called == ["autoencoder", "samples"]


def test_stages_that_need_nothing_of_each_other_run_side_by_side_if_there_is_room(
    make_context, tiny_recipe, called, room
):
    room(2)
    run_all(make_context(tiny_recipe(classifier={})))
    assert called == ["vqvae", "codes", ("prior-top", "prior-bottom", "classifier"), "samples"]
    called.clear()
    run_stages(make_context(), ["prior-top", "prior-bottom"])
    run_stages(make_context(), ["prior-bottom"])
    assert called == [("prior-top", "prior-bottom"), "prior-bottom"]


def test_one_parallel_stage_or_a_launcher_runs_one_after_the_other(make_context, called, room, monkeypatch):
    room(2)
    run_all(make_context(parallel_stages=1))
    assert called == [*STAGES, "samples"]
    called.clear()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    run_all(make_context())
    assert called == [*STAGES, "samples"]


def test_complete_stages_take_no_process(make_run, tiny_recipe, called, room):
    room(2)
    run = make_run(tiny_recipe(classifier={}))
    for stage in ("vqvae", "codes", "prior-top"):
        run.finish(stage)
    run_all(run.context)
    assert called == ["vqvae", "codes", ("prior-bottom", "classifier"), "prior-top", "samples"]
    run.finish("classifier")
    called.clear()
    run_all(run.context)
    assert called == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]


def test_stage_of_other_inputs_is_refused_before_the_stages_beside_it_begin(make_run, called, room):
    room(2)
    run = make_run()
    for stage in STAGES:
        run.finish(stage)
    path = run.context.folder / "codes" / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"output": "others"}))
    with pytest.raises(CheckpointError, match=r"stage prior-top was made .*\n  codes: codes of \w+ -> others"):
        run_stages(run.context, ["prior-top", "prior-bottom"])
    assert called == []
    run.context.redo = True
    run_stages(run.context, ["prior-top", "prior-bottom"])
    assert called == [("prior-top", "prior-bottom")]


def test_too_many_parallel_stages_are_refused_before_any_stage_begins(make_context, called, monkeypatch):
    monkeypatch.setattr("vqgen.stages.schedule.free_host_memory", lambda: 10**6)
    context = make_context(parallel_stages=2)
    for act in (run_all, lambda context: planned_schedules(context, context.recipe.stage_names)):
        with pytest.raises(ConfigError, match=r"--parallel-stages: should be auto or at most 1 with 0\.0 GB of free"):
            act(context)
    assert called == []


def test_plan_has_the_stages_that_would_run_side_by_side(make_run, tiny_recipe, room):
    room(3)
    run = make_run(tiny_recipe(classifier={}))

    def planned():
        return [[each.stage for each in schedule.stages] for schedule in planned_schedules(run.context, names)]

    names = run.context.recipe.stage_names
    assert planned() == [["prior-top", "prior-bottom", "classifier"]]
    for stage in ("vqvae", "codes", "prior-top"):
        run.finish(stage)
    assert planned() == [["prior-bottom", "classifier"]]
    assert stages_to_do(run.context, names) == ["prior-bottom", "classifier", "samples"]
    run.finish("classifier")
    assert planned() == []


# the locked folder


def test_run_starts_with_a_locked_and_clean_folder(make_context):
    context = make_context()
    leftover = context.folder / "vqvae" / ".model.1.tmp"
    leftover.mkdir(parents=True)

    def act(given):
        assert given is context
        assert not leftover.exists()
        with pytest.raises(CheckpointError, match="another process is working in it"):
            run_locked(make_context(), lambda other: None)

    run_locked(context, act)
    run_locked(context, lambda given: None)


def test_run_of_a_changed_recipe_is_refused_before_anything_is_touched(make_run, tiny_recipe):
    run = make_run()
    run.finish("vqvae")
    leftover = run.context.folder / ".x.1.tmp"
    leftover.write_text("")
    run.context.recipe = tiny_recipe(vqvae={"channels": 12})
    with pytest.raises(CheckpointError, match=r"vqvae\.channels: 8 -> 12"):
        run_locked(run.context, lambda context: pytest.fail("ran"))
    assert leftover.exists()


def test_locks_of_a_killed_run_are_removed_before_its_temporary_files(make_context):
    context = make_context()
    context.folder.mkdir()
    for name in (".prior-top.lock", ".completion.lock"):
        (context.folder / name).touch()
    run_locked(context, lambda given: (given.folder / "kept").touch())
    assert {path.name for path in context.folder.iterdir()} == {".lock", "kept"}
