import json
from dataclasses import replace

import pytest

from vqgen.config.lengths import Length, with_length
from vqgen.stages.continuation import Continuation
from vqgen.stages.records import read_record
from vqgen.stages.states import COMPLETE, shares_to_do, stage_states
from vqgen.storage.tensors import save_tensors
from vqgen.training.state import state_path

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom"]


@pytest.fixture
def run(make_run, tiny_recipe):
    """A run whose stages are complete, with states of four steps, and samples of all models."""
    run = make_run(tiny_recipe(classifier={"train": {"steps": 4}}))
    for stage in [*STAGES, "classifier"]:
        run.finish(stage)
        if stage != "codes":
            save_tensors(state_path(run.context.folder / stage), {}, json.dumps({"step": 4}))
    record = read_record(run.context.folder / "vqvae")
    outputs = {
        stage: read_record(run.context.folder / stage).output for stage in ("vqvae", "prior-top", "prior-bottom")
    }
    samples = replace(record, stage="samples", fields=run_fields(run, "samples"), inputs=outputs)
    samples.write(run.context.folder / "samples")
    return run


def run_fields(run, stage):
    from vqgen.config import stage_fields

    return stage_fields(run.context.recipe, stage)


def give(run, stage, steps=6):
    """Asks for more steps of a stage."""
    run.context.recipe = with_length(run.context.recipe, stage, Length(4 + steps))
    run.context.continued = {**run.context.continued, stage: Continuation(4, Length(4), steps)}


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


# more steps


def test_more_steps_of_the_vqvae_make_everything_after_it_again(run):
    give(run, "vqvae")
    again = dict.fromkeys(["codes", "prior-top", "prior-bottom", "samples"], "make again")
    assert stage_states(run.context) == {
        "vqvae": "go on from step 4 to 10 steps",
        **again,
        "classifier": COMPLETE,
    }


def test_more_steps_of_a_prior_make_the_samples_again(run):
    give(run, "prior-top")
    assert stage_states(run.context) == dict.fromkeys(["vqvae", "codes", "prior-bottom", "classifier"], COMPLETE) | {
        "prior-top": "go on from step 4 to 10 steps",
        "samples": "make again",
    }


def test_more_steps_of_the_classifier_leave_samples_that_it_did_not_choose(run):
    give(run, "classifier")
    states = stage_states(run.context)
    assert (states["classifier"], states["samples"]) == ("go on from step 4 to 10 steps", COMPLETE)


def test_stage_that_gets_more_steps_after_another_is_made_again(run):
    give(run, "vqvae")
    give(run, "prior-top")
    assert stage_states(run.context)["prior-top"] == "make again"


def test_stages_follow_while_an_earlier_request_is_not_finished(run):
    path = run.context.folder / "vqvae"
    record = replace(read_record(path), complete=False, continuations=(Continuation(4, Length(2), 2),))
    record.write(path)
    states = stage_states(run.context)
    assert (states["vqvae"], states["codes"], states["samples"]) == (
        "resume where it was cut",
        "make again",
        "make again",
    )
    replace(record, complete=True, output="new").write(path)
    states = stage_states(run.context)
    assert (states["vqvae"], states["codes"], states["prior-top"]) == (COMPLETE, "make again", "make again")


def test_raised_steps_are_refused_with_both_ways(run):
    run.context.recipe = with_length(run.context.recipe, "vqvae", Length(9))
    assert stage_states(run.context)["vqvae"] == "refuse without --more-steps or --redo: vqvae.train.steps: 4 -> 9"
    run.context.redo = True
    assert stage_states(run.context)["vqvae"] == "make again"


def test_share_of_the_work_that_is_left(run):
    assert set(shares_to_do(run.context).values()) == {0.0}
    give(run, "prior-top", 12)
    assert shares_to_do(run.context) == dict.fromkeys([*STAGES, "classifier"], 0.0) | {
        "prior-top": 0.75,
        "samples": 1.0,
    }
    give(run, "vqvae", 4)
    assert shares_to_do(run.context) == dict.fromkeys([*STAGES, "samples"], 1.0) | {"vqvae": 0.5, "classifier": 0.0}


def test_share_of_a_cut_training_is_that_of_its_steps(make_run, tiny_recipe):
    run = make_run(tiny_recipe())
    run.finish("vqvae")
    path = run.context.folder / "vqvae"
    replace(read_record(path), complete=False).write(path)
    assert shares_to_do(run.context)["vqvae"] == 1.0  # cut before its first save
    save_tensors(state_path(path), {}, json.dumps({"step": 3}))
    assert shares_to_do(run.context)["vqvae"] == 0.25
