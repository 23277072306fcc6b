import json

import pytest

from vqgen.errors import CheckpointError
from vqgen.stages import run as run_module
from vqgen.stages.run import run_all, run_locked, run_one, stage_states

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom"]


@pytest.fixture
def called(monkeypatch):
    """Replaces every stage by one that notes its name."""
    names = []
    for stage in run_module._RUNNERS:
        monkeypatch.setitem(run_module._RUNNERS, stage, lambda context, stage=stage: names.append(stage))
    monkeypatch.setattr(run_module, "train_prior", lambda context, level: names.append(f"prior of {level}"))
    return names


def test_stages_run_in_the_order_of_the_recipe(make_context, tiny_recipe, baseline_recipe, called):
    run_all(make_context(tiny_recipe(classifier={})))
    assert called == ["vqvae", "codes", "prior of top", "prior of bottom", "classifier", "samples"]
    called.clear()
    run_all(make_context(baseline_recipe()))
    assert called == ["autoencoder", "samples"]


def test_one_stage_runs_by_its_name(make_context, called):
    run_one(make_context(), "prior-bottom")
    run_one(make_context(), "codes")
    assert called == ["prior of bottom", "codes"]


# the state of each stage


def test_new_run_makes_every_stage(make_context):
    assert stage_states(make_context()) == dict.fromkeys([*STAGES, "samples"], "make")


def test_states_are_those_of_the_folder(make_run):
    run = make_run()
    for stage in STAGES[:3]:
        run.finish(stage)
    path = run.context.folder / "prior-top" / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))
    (run.context.folder / "prior-bottom").mkdir()
    (run.context.folder / "prior-bottom" / "stage.json").write_text("{")
    assert stage_states(run.context) == {
        "vqvae": "skip, complete",
        "codes": "skip, complete",
        "prior-top": "resume where it was cut",
        "prior-bottom": "damaged",
        "samples": "make",
    }


def test_changed_stage_and_the_stages_after_it_are_made_again_with_redo(make_run, tiny_recipe):
    run = make_run()
    for stage in STAGES:
        run.finish(stage)
    prior = tiny_recipe().priors[0].model_dump()
    run.context.recipe = tiny_recipe(priors=[prior | {"layers": 3}, prior])
    assert stage_states(run.context)["prior-top"] == "refuse without --redo: priors.0.layers: 2 -> 3"
    run.context.redo = True
    assert stage_states(run.context) == {
        "vqvae": "skip, complete",
        "codes": "skip, complete",
        "prior-top": "make again",
        "prior-bottom": "make again",
        "samples": "make",
    }


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
