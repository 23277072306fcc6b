import json
from dataclasses import replace

import pytest

from vqgen.config import stage_fields
from vqgen.config.lengths import Length, length_of, with_length
from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.continuation import Continuation
from vqgen.stages.more_steps import (
    LongerRun,
    MoreSteps,
    adopted_recipe,
    close_requests,
    finished_steps,
    is_longer,
    lengthened,
)
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.tensors import save_tensors
from vqgen.training.state import state_path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def put(folder):
    """Writes the record of a stage and the state of its training; no steps leave the state out."""

    def write(recipe, stage, steps=4, **changes):
        record = StageRecord(stage, stage_fields(recipe, stage), {}, {}, complete=True, output="old")
        record = replace(record, **changes)
        record.write(folder / stage)
        if steps is not None:
            save_tensors(state_path(folder / stage), {}, json.dumps({"step": steps}))
        return record

    return write


def ask(recipe, folder, request, stages=None):
    return lengthened(recipe, folder, stages or recipe.stage_names, request)


# a number of steps


def test_complete_stage_gets_steps_beside_those_that_it_has_done(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    put(recipe, "vqvae")
    run = ask(recipe, folder, MoreSteps({"vqvae": 6}))
    assert run.recipe == with_length(recipe, "vqvae", Length(10))
    assert run.continued == {"vqvae": Continuation(4, Length(4), 6)}
    assert not run.notes


def test_steps_count_from_the_last_one_of_a_training_that_ended_early(tiny_recipe, folder, put):
    recipe = tiny_recipe(vqvae={"train": {"steps": 1000}})
    put(recipe, "vqvae", steps=600)
    for more, total in ((500, 1100), (400, 1000), (100, 700)):
        run = ask(recipe, folder, MoreSteps({"vqvae": more}))
        assert length_of(run.recipe, "vqvae") == Length(total)
        assert run.continued == {"vqvae": Continuation(600, Length(1000), more)}


def test_steps_of_a_cut_stage_count_from_its_planned_end(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    for steps, since in ((2, 2), (None, 0)):
        put(recipe, "prior-top", steps=steps, complete=False, output="")
        run = ask(recipe, folder, MoreSteps({"prior-top": 6}))
        assert length_of(run.recipe, "prior-top") == Length(10)
        assert run.continued == {"prior-top": Continuation(since, Length(4), 6)}
        if steps is not None:
            state_path(folder / "prior-top").unlink()


def test_complete_training_of_epochs_goes_on_in_steps(tiny_recipe, folder, put):
    recipe = tiny_recipe(vqvae={"train": {"epochs": 3.0}})
    put(recipe, "vqvae", steps=7)
    run = ask(recipe, folder, MoreSteps({"vqvae": 5}))
    assert length_of(run.recipe, "vqvae") == Length(12)
    put(recipe, "vqvae", steps=2, complete=False)
    with pytest.raises(ConfigError, match=r"vqvae trains for 3 epochs and is not complete; set --vqvae\.train\.epochs"):
        ask(recipe, folder, MoreSteps({"vqvae": 5}))


def test_steps_for_each_are_for_the_trainings_that_have_begun(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    with pytest.raises(ConfigError, match=r"--more-steps 6: needs a training that has begun, found none in"):
        ask(recipe, folder, MoreSteps(each=6))
    put(recipe, "vqvae")
    put(recipe, "prior-top")
    run = ask(recipe, folder, MoreSteps({"prior-top": 9}, each=6))
    assert {stage: each.more for stage, each in run.continued.items()} == {"vqvae": 6, "prior-top": 9}
    assert ask(recipe, folder, MoreSteps(each=6), ["prior-top"]).continued.keys() == {"prior-top"}


# the steps of the recipe


def test_recipe_with_more_steps_is_answered_once(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    put(recipe, "vqvae")
    put(recipe, "prior-top")
    longer = with_length(recipe, "vqvae", Length(9))
    run = ask(longer, folder, MoreSteps(of_recipe=True))
    assert (run.recipe, run.continued) == (longer, {"vqvae": Continuation(4, Length(4))})
    put(longer, "vqvae", steps=9, continuations=(Continuation(4, Length(4)),))
    assert ask(longer, folder, MoreSteps(of_recipe=True)) == LongerRun(longer)


def test_recipe_with_fewer_steps_or_other_fields_is_not_answered(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    put(recipe, "vqvae")
    for other in (
        with_length(recipe, "vqvae", Length(3)),
        tiny_recipe(vqvae={"channels": 12, "train": {"steps": 9}}),
        tiny_recipe(),
    ):
        assert ask(other, folder, MoreSteps(of_recipe=True)) == LongerRun(other)


def test_recipe_is_longer_only_by_its_length(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    record = put(recipe, "vqvae")
    assert is_longer(with_length(recipe, "vqvae", Length(5)), folder, record)
    assert not is_longer(recipe, folder, record)
    assert not is_longer(tiny_recipe(seed=1, vqvae={"train": {"steps": 9}}), folder, record)
    codes = StageRecord("codes", stage_fields(recipe, "codes"), {}, {}, complete=True)
    assert not is_longer(tiny_recipe(seed=1), folder, codes)


# earlier requests


def test_recipe_of_the_user_takes_the_length_of_earlier_requests(tiny_recipe, folder, put):
    recipe = tiny_recipe(vqvae={"train": {"max_seconds": 5.0}})
    lengths = (Continuation(4, Length(4), 2), Continuation(6, Length(6), 3))
    present = with_length(recipe, "vqvae", Length(9))
    put(present, "vqvae", continuations=lengths)
    for steps in (4, 6, 9):
        same = tiny_recipe(vqvae={"train": {"steps": steps, "max_seconds": 5.0}})
        assert adopted_recipe(same, folder, same.stage_names) == present
    wish = with_length(recipe, "vqvae", Length(12))
    assert adopted_recipe(wish, folder, wish.stage_names) == wish


def test_recipe_without_requests_or_with_damaged_records_stays(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    put(recipe, "vqvae")
    (folder / "prior-top").mkdir()
    (folder / "prior-top" / "stage.json").write_text("{")
    assert adopted_recipe(recipe, folder, recipe.stage_names) is recipe


def test_same_request_adds_no_steps_until_its_command_has_finished(tiny_recipe, folder, put):
    recipe = with_length(tiny_recipe(), "vqvae", Length(10))
    for is_complete in (False, True):
        put(recipe, "vqvae", steps=7, complete=is_complete, continuations=(Continuation(4, Length(4), 6),))
        run = ask(recipe, folder, MoreSteps({"vqvae": 6}))
        assert (run.recipe, run.continued) == (recipe, {})
        (note,) = run.notes
        assert "goes on with --more-steps vqvae=6, which was asked for before: step 7 of 10 steps" in note
    other = ask(recipe, folder, MoreSteps({"vqvae": 7}))
    assert other.continued == {"vqvae": Continuation(7, Length(10), 7)}
    close_requests(folder, ["vqvae", "prior-top"])
    assert not read_record(folder / "vqvae").continuations[-1].open
    again = ask(recipe, folder, MoreSteps({"vqvae": 6}))
    assert again.continued == {"vqvae": Continuation(7, Length(10), 6)}


def test_other_steps_are_refused_while_the_stage_is_not_complete(tiny_recipe, folder, put):
    recipe = with_length(tiny_recipe(), "vqvae", Length(10))
    for given in (6, None):
        put(recipe, "vqvae", steps=7, complete=False, continuations=(Continuation(4, Length(4), given),))
        message = r"--more-steps(| vqvae=6) of an earlier command is not finished \(step 7 of 10 steps\); .*`vqgen run`"
        with pytest.raises(CheckpointError, match=message):
            ask(recipe, folder, MoreSteps({"vqvae": 7}))


def test_unfinished_stage_keeps_its_request_open(tiny_recipe, folder, put):
    put(tiny_recipe(), "vqvae", complete=False, continuations=(Continuation(4, Length(2), 2),))
    before = (folder / "vqvae" / "stage.json").read_bytes()
    close_requests(folder, ["vqvae"])
    assert (folder / "vqvae" / "stage.json").read_bytes() == before


# refusals


def test_stage_that_does_not_train_here_is_refused(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    for stage, stages in (("codes", None), ("prior-middle", None), ("vqvae", ["prior-top"])):
        with pytest.raises(ConfigError, match=rf"should name a stage that this command trains \(.*\), found '{stage}'"):
            ask(recipe, folder, MoreSteps({stage: 5}), stages)


def test_stage_that_has_not_begun_is_refused_with_the_option_of_its_steps(tiny_recipe, folder):
    with pytest.raises(ConfigError, match=r"needs a stage that has begun, .* set --priors\.1\.train\.steps"):
        ask(tiny_recipe(), folder, MoreSteps({"prior-bottom": 5}))


def test_other_changes_are_refused_by_name(tiny_recipe, folder, put):
    put(tiny_recipe(), "vqvae")
    other = tiny_recipe(vqvae={"channels": 12}, seed=3)
    with pytest.raises(CheckpointError, match=r"\n  seed: 0 -> 3\n  vqvae\.channels: 8 -> 12\n.*recipe\.toml.*--redo"):
        ask(other, folder, MoreSteps({"vqvae": 5}))


def test_steps_from_two_places_are_refused(tiny_recipe, folder, put):
    put(tiny_recipe(), "vqvae")
    other = with_length(tiny_recipe(), "vqvae", Length(9))
    with pytest.raises(ConfigError, match=r"should be left without a number .*, found 9 steps there and 4 steps in"):
        ask(other, folder, MoreSteps({"vqvae": 5}))


def test_complete_stage_without_its_state_is_refused(tiny_recipe, folder, put):
    recipe = tiny_recipe()
    put(recipe, "vqvae", steps=None)
    for run, request in (
        (recipe, MoreSteps({"vqvae": 5})),
        (with_length(recipe, "vqvae", Length(9)), MoreSteps(of_recipe=True)),
    ):
        with pytest.raises(CheckpointError, match=r"training\.safetensors: is needed to train vqvae further, .*--redo"):
            ask(run, folder, request)


@pytest.mark.parametrize("content", [b"", b"not tensors", None])
def test_damaged_state_is_refused_by_name(tiny_recipe, folder, put, content):
    recipe = tiny_recipe()
    record = put(recipe, "vqvae")
    path = state_path(folder / "vqvae")
    if content is None:
        save_tensors(path, {}, "[]")
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"training\.safetensors: is (damaged|not a training state)"):
        ask(recipe, folder, MoreSteps({"vqvae": 5}))
    assert read_record(folder / "vqvae") == record


def test_finished_steps_are_those_of_the_state(tiny_recipe, folder, put):
    record = put(tiny_recipe(), "vqvae", steps=3)
    assert finished_steps(folder / "vqvae", record) == 3
    state_path(folder / "vqvae").unlink()
    assert finished_steps(folder / "vqvae", replace(record, complete=False)) == 0
