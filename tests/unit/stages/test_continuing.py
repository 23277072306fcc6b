import json
from dataclasses import replace

import pytest

from vqgen.config import stage_fields
from vqgen.config.lengths import Length, with_length
from vqgen.errors import CheckpointError
from vqgen.stages.bookkeeping import begin_stage, check_unchanged, is_up_to_date
from vqgen.stages.continuation import Continuation
from vqgen.stages.continuing import continue_stage, follows_more_steps, gets_more_steps, lengths_before
from vqgen.stages.more_steps import adopted_recipe
from vqgen.stages.records import read_record
from vqgen.storage.tensors import save_tensors
from vqgen.training.state import state_path

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom"]


@pytest.fixture
def run(make_run, tiny_recipe):
    """A run whose stages are complete, with states of four steps."""
    run = make_run(tiny_recipe(vqvae={"quantize_after": 0}))  # which does not depend on the length
    for stage in STAGES:
        run.finish(stage)
        if stage != "codes":
            save_tensors(state_path(run.context.folder / stage), {}, json.dumps({"step": 4}))
    return run


def give(run, stage, steps=6):
    """Asks for more steps of a stage."""
    run.context.recipe = with_length(run.context.recipe, stage, Length(4 + steps))
    run.context.continued = {**run.context.continued, stage: Continuation(4, Length(4), steps)}


def record_of(run, stage, number=None):
    return read_record(run.context.folder / (stage if number is None else f"{stage}.old-{number}"))


def hash_in_pipeline(run, stage):
    return json.loads((run.pipeline / "pipeline.json").read_text())["sha256"][stage]


def begin(run, stage):
    return begin_stage(run.context, stage, run.inputs(stage))


# the stage that goes on


def test_stage_with_more_steps_resumes_and_stays_as_a_copy(run, capsys):
    before = record_of(run, "vqvae")
    give(run, "vqvae")
    check_unchanged(run.context, STAGES)
    assert not is_up_to_date(run.context, "vqvae")
    action, record = begin(run, "vqvae")
    assert (action, record.complete) == ("resume", False)
    assert record == record_of(run, "vqvae")
    assert record.continuations == (Continuation(4, Length(4), 6),)
    assert (record.continued_from, record.first_length) == (4, Length(4))
    assert record.fields == stage_fields(run.context.recipe, "vqvae")
    assert record_of(run, "vqvae", 1) == before
    assert "vqvae: goes on from step 4 to 10 steps; the old one is kept as" in capsys.readouterr().out


def test_second_start_of_the_same_request_only_resumes(run):
    give(run, "vqvae")
    _, record = begin(run, "vqvae")
    assert not gets_more_steps(run.context, record)
    assert begin(run, "vqvae") == ("resume", record)
    assert not (run.context.folder / "vqvae.old-2").exists()
    run.finish("vqvae", seed=1)
    assert begin(run, "vqvae")[0] == "skip"


def test_cut_stage_gets_more_steps_without_a_copy(run, capsys):
    path = run.context.folder / "prior-top"
    replace(read_record(path), complete=False, output="").write(path)
    give(run, "prior-top")
    assert begin(run, "prior-top")[0] == "resume"
    assert not (run.context.folder / "prior-top.old-1").exists()
    assert "kept" not in capsys.readouterr().out


def test_more_steps_than_before_with_the_same_length_of_the_recipe(run):
    """Patience ended a training after 4 of 10 steps; 6 more make the 10 that its record has already."""
    path = run.context.folder / "vqvae"
    run.context.recipe = with_length(run.context.recipe, "vqvae", Length(10))
    replace(read_record(path), fields=stage_fields(run.context.recipe, "vqvae")).write(path)
    run.context.continued = {"vqvae": Continuation(4, Length(10), 6)}
    assert begin(run, "vqvae")[0] == "resume"
    assert record_of(run, "vqvae").continuations == (Continuation(4, Length(10), 6),)


def test_pictures_that_changed_are_refused_in_spite_of_the_request(run):
    give(run, "vqvae")
    before = record_of(run, "vqvae")
    with pytest.raises(CheckpointError, match="images: hash of the images -> others"):
        begin_stage(run.context, "vqvae", {"images": "others"})
    assert record_of(run, "vqvae") == before


def test_raised_steps_without_the_request_are_refused_with_both_ways(run):
    run.context.recipe = with_length(run.context.recipe, "vqvae", Length(9))
    message = (
        r"stage vqvae was made with fewer steps:\n  vqvae\.train\.steps: 4 -> 9\n"
        r"--more-steps goes on from its last step; --redo moves it aside and makes it again; --run-name"
    )
    for refuse in (lambda: begin(run, "vqvae"), lambda: check_unchanged(run.context, STAGES)):
        with pytest.raises(CheckpointError, match=message):
            refuse()
    run.context.recipe = with_length(run.context.recipe, "vqvae", Length(3))
    with pytest.raises(CheckpointError, match=r"another recipe or other inputs:[^-]*-> 3\n--redo"):
        begin(run, "vqvae")


# the pipeline while a stage goes on


def test_pipeline_stays_whole_until_the_stage_is_complete(run):
    give(run, "prior-bottom")
    _, record = begin(run, "prior-bottom")
    give(run, "prior-top")
    begin(run, "prior-top")
    run.finish("prior-top", seed=1)  # completes beside it, and writes the pipeline
    assert hash_in_pipeline(run, "prior-bottom") == record.output == record_of(run, "prior-bottom", 1).output
    run.finish("prior-bottom", seed=1)
    assert hash_in_pipeline(run, "prior-bottom") == record_of(run, "prior-bottom").output


# the stages that follow


def test_stages_after_it_are_moved_aside_and_made_again_without_redo(run):
    give(run, "vqvae")
    run.finish("vqvae", seed=1)
    for stage in STAGES[1:]:
        old = record_of(run, stage)
        assert follows_more_steps(run.context, old, run.inputs(stage))
        assert not is_up_to_date(run.context, stage)
        run.finish(stage)
        assert record_of(run, stage, 1) == old
        assert record_of(run, stage).inputs["vqvae"] == record_of(run, "vqvae").output


def test_later_command_without_the_option_goes_on_with_them(run, make_context):
    recipe = run.context.recipe
    give(run, "vqvae")
    run.finish("vqvae", seed=1)
    run.context = make_context(recipe)
    run.context.recipe = adopted_recipe(run.context.recipe, run.context.folder, STAGES)
    assert begin(run, "vqvae")[0] == "skip"
    assert begin(run, "codes")[0] == "start"
    assert (run.context.folder / "codes.old-1").is_dir()


def test_result_that_more_steps_did_not_change_leaves_the_stages_after_it(run):
    give(run, "vqvae")
    run.finish("vqvae")  # the best weights are those of before
    for stage in STAGES[1:]:
        assert begin(run, stage)[0] == "skip"


def test_stages_with_other_changes_do_not_follow(run, tiny_recipe):
    give(run, "vqvae")
    run.finish("vqvae", seed=1)
    run.finish("codes")
    prior = tiny_recipe().priors[0].model_dump()
    recipe = run.context.recipe
    run.context.recipe = tiny_recipe(vqvae=recipe.vqvae.model_dump(), priors=[prior | {"layers": 3}, prior])
    with pytest.raises(CheckpointError, match=r"priors\.0\.layers: 2 -> 3"):
        begin(run, "prior-top")


def test_prior_with_more_steps_on_new_codes_begins_anew_with_its_new_length(run):
    give(run, "vqvae")
    give(run, "prior-top")
    run.finish("vqvae", seed=1)
    run.finish("codes")
    action, record = begin(run, "prior-top")
    assert action == "start"
    assert record.fields == stage_fields(run.context.recipe, "prior-top")
    assert record.continuations == (Continuation(0, Length(4), 6),)
    assert record.first_length is None  # it has had its length from its start
    assert begin(run, "prior-top") == ("resume", record)


def test_stage_that_is_made_again_keeps_the_lengths_by_which_its_recipe_is_known(run, make_context):
    recipe = run.context.recipe
    give(run, "prior-top")
    run.finish("prior-top", seed=1)
    give(run, "vqvae")
    run.context.continued = {"vqvae": run.context.continued["vqvae"]}
    for stage in STAGES[:3]:
        run.finish(stage, seed=2)
    assert record_of(run, "prior-top").continuations == (Continuation(0, Length(4), 6),)
    context = make_context(recipe)
    assert adopted_recipe(context.recipe, context.folder, STAGES) == run.context.recipe


def test_stage_of_another_length_forgets_the_earlier_ones(run):
    give(run, "prior-top")
    _, record = begin(run, "prior-top")
    run.context.continued = {}
    run.context.recipe = with_length(run.context.recipe, "prior-top", Length(3))
    assert lengths_before(run.context, "prior-top", record) == ()
    assert lengths_before(run.context, "codes", record_of(run, "codes")) == ()
    assert lengths_before(run.context, "vqvae", None) == ()


def test_record_is_written_after_the_copy(run, monkeypatch):
    give(run, "vqvae")

    def fail(folder):
        raise OSError("disk is full")

    monkeypatch.setattr("vqgen.stages.continuing.copy_aside", fail)
    before = record_of(run, "vqvae")
    with pytest.raises(OSError, match="disk is full"):
        continue_stage(run.context, before)
    assert record_of(run, "vqvae") == before
