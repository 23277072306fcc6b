import argparse
import json

import pytest
import tomli_w

from vqgen.commands import plan, train_classifier, train_prior
from vqgen.commands import run as run_command
from vqgen.commands.more_steps import (
    NOT_WITH_BUDGET,
    add_more_steps_argument,
    give_more_steps,
    more_steps_request,
    more_steps_word,
)
from vqgen.config import stage_fields
from vqgen.config.lengths import Length, length_of
from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.continuation import Continuation
from vqgen.stages.more_steps import MoreSteps
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.tensors import save_tensors
from vqgen.training.state import state_path


def parse(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    add_more_steps_argument(parser)
    return parser.parse_args(words)


# the words


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ((), None),
        (("--more-steps", "2000"), MoreSteps(each=2000)),
        (("--more-steps",), MoreSteps(of_recipe=True)),
        (("--more-steps=prior-top=5",), MoreSteps({"prior-top": 5})),
        (("--more-steps", "vqvae=3", "--more-steps", "prior-top=5"), MoreSteps({"vqvae": 3, "prior-top": 5})),
        (("--more-steps", "vqvae=3", "--more-steps"), MoreSteps({"vqvae": 3}, of_recipe=True)),
        (("--more-steps", "4", "--more-steps", "vqvae=3"), MoreSteps({"vqvae": 3}, each=4)),
    ],
)
def test_words_are_a_request(words, request_):
    assert more_steps_request(parse("digits", *words)) == request_


@pytest.mark.parametrize(
    "text", ["0", "-5", "1.5", "1e3", "vqvae=0", "vqvae=", "=5", "vqvae=-2", "digits", "", "vqvae:5"]
)
def test_word_that_is_no_number_of_steps_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"should be a whole number of steps from 1 up, or STAGE=N"):
        more_steps_word(text)


@pytest.mark.parametrize("words", [("5", "--more-steps", "6"), ("vqvae=5", "--more-steps", "vqvae=5")])
def test_steps_that_are_given_twice_are_refused(words):
    with pytest.raises(ConfigError, match=r"--more-steps: should be given once for each stage, found (N|vqvae=N) more"):
        more_steps_request(parse("digits", "--more-steps", *words))


# the run


@pytest.fixture
def recipe_file(tiny_document, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tiny_document()))
    return path


@pytest.fixture
def folder(tiny_recipe, tmp_path):
    """A run folder whose stages are complete, with states of four steps."""
    folder = tmp_path / "runs" / "tiny"
    recipe = tiny_recipe()
    needed = {"codes": ["vqvae"], "prior-top": ["vqvae", "codes"], "prior-bottom": ["vqvae", "codes"],
              "samples": ["vqvae", "prior-top", "prior-bottom"]}  # fmt: skip
    for stage in recipe.stage_names:
        inputs = {name: f"hash of {name}" for name in needed.get(stage, [])}
        record = StageRecord(stage, stage_fields(recipe, stage), inputs, {}, complete=True, output=f"hash of {stage}")
        record.write(folder / stage)
        save_tensors(state_path(folder / stage), {}, json.dumps({"step": 4}))
    return folder


@pytest.fixture
def call(recipe_file, folder, monkeypatch):
    """Runs a command on the run and returns the context that the stages would get; without work on the stages."""

    def call_command(command, *words, overrides=()):
        seen = []
        monkeypatch.setattr("vqgen.stages.run.run_one", lambda context, stage: seen.append((context, stage)))
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        place = ("--checkpoints", str(folder.parent), "--device", "cpu")
        arguments = parser.parse_args([str(recipe_file), *place, *words])
        arguments.overrides = list(overrides)
        assert command.run(arguments) == 0
        return seen

    return call_command


def test_request_reaches_the_stages_and_the_screen(call, capsys):
    seen = call(run_command, "--more-steps", "vqvae=6", "--parallel-stages", "1")
    context, _ = seen[0]
    assert [stage for _, stage in seen] == ["vqvae", "codes", "prior-top", "prior-bottom", "samples"]
    assert context.continued == {"vqvae": Continuation(4, Length(4), 6)}
    assert length_of(context.recipe, "vqvae") == Length(10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "more steps:",
        "  vqvae            go on from step 4 to 10 steps",
        "  codes, prior-top, prior-bottom, samples: made again after that",
        "  a stage as it is now is kept as STAGE.old-N",
    ]


def test_steps_for_each_training_tell_the_lengths_of_those_that_begin_anew(call, capsys):
    call(run_command, "--more-steps", "6", "--parallel-stages", "1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:5] == [
        "  vqvae            go on from step 4 to 10 steps",
        "  prior-top        make again, with 10 steps",
        "  prior-bottom     make again, with 10 steps",
        "  codes, samples: made again after that",
    ]


def test_command_of_one_stage_tells_what_is_stale_after_it(call, capsys):
    seen = call(train_prior, "--level", "top", "--more-steps", "6", "--parallel-stages", "1")
    assert [stage for _, stage in seen] == ["prior-top"]
    assert "  samples: stale after that; `vqgen run` makes them again\n" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"a stage that this command trains \(prior-top\), found 'vqvae'"):
        call(train_prior, "--level", "top", "--more-steps", "vqvae=6")


def test_classifier_that_the_recipe_does_not_name_gets_more_steps(call, tiny_recipe, folder):
    recipe = tiny_recipe(classifier={})
    StageRecord("classifier", stage_fields(recipe, "classifier"), {}, {}, complete=True).write(folder / "classifier")
    save_tensors(state_path(folder / "classifier"), {}, json.dumps({"step": 1000}))
    ((context, stage),) = call(train_classifier, "--more-steps", "50")
    assert (stage, length_of(context.recipe, "classifier")) == ("classifier", Length(1050))
    ((context, _),) = call(train_classifier)
    assert context.recipe == tiny_recipe()  # nothing was noted, so nothing is left of the request


def test_steps_of_the_recipe_are_taken_with_the_option_and_refused_without(call, capsys):
    longer = ["--priors.1.train.steps", "9"]
    context, _ = call(run_command, "--more-steps", "--parallel-stages", "1", overrides=longer)[0]
    assert context.continued == {"prior-bottom": Continuation(4, Length(4))}
    with pytest.raises(CheckpointError, match=r"priors\.1\.train\.steps: 4 -> 9\n--more-steps goes on .*--redo"):
        call(run_command, overrides=longer)
    capsys.readouterr()
    call(run_command, "--more-steps", "--parallel-stages", "1")
    assert capsys.readouterr().out.startswith("more steps: none, every stage has the steps of the recipe\n")


def test_command_without_the_option_goes_on_with_an_open_request(call, folder, tiny_recipe):
    recipe = tiny_recipe(vqvae={"train": {"steps": 10}})
    record = read_record(folder / "vqvae")
    fields = stage_fields(recipe, "vqvae")
    open_one = StageRecord(
        "vqvae", fields, {}, {}, output=record.output, continuations=(Continuation(4, Length(4), 6),)
    )
    open_one.write(folder / "vqvae")
    context, _ = call(run_command, "--parallel-stages", "1")[0]
    assert (context.recipe, context.continued) == (recipe, {})


def test_request_is_closed_when_the_run_has_ended(call, folder, tiny_recipe):
    record = read_record(folder / "vqvae")
    fields = stage_fields(tiny_recipe(vqvae={"train": {"steps": 10}}), "vqvae")
    StageRecord(
        "vqvae", fields, {}, {}, complete=True, output=record.output, continuations=(Continuation(4, Length(4), 6),)
    ).write(folder / "vqvae")
    call(run_command, "--more-steps", "vqvae=6", "--parallel-stages", "1")
    assert not read_record(folder / "vqvae").continuations[-1].open


@pytest.mark.slow
def test_dry_run_and_plan_tell_the_changes_and_the_time_that_is_left(call, folder, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert call(run_command, "--more-steps", "prior-top=12", "--dry-run") == []
    out = capsys.readouterr().out
    assert "\n  prior-top        go on from step 4 to 16 steps\n" in out
    assert "\n  samples          make again\n" in out
    assert " of it is left\n" in out
    call(plan, "--more-steps", "prior-top=12")
    out = capsys.readouterr().out
    assert "  prior-top        go on from step 4 to 16 steps\n  samples: made again after that\n" in out
    assert "top      2 x 2 codes in 4 steps (slope 2), 2 layers of 8 channels, 16 steps at batch 8" in out
    assert " of it is left\n" in out
    call(plan)
    assert " of it is left" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_plan_has_the_steps_of_earlier_requests(call, folder, tiny_recipe, capsys):
    fields = stage_fields(tiny_recipe(vqvae={"train": {"steps": 10}}), "vqvae")
    StageRecord("vqvae", fields, {}, {}, complete=True, continuations=(Continuation(4, Length(4), 6),)).write(
        folder / "vqvae"
    )
    call(plan, "--no-measure")
    assert "8 channels, 10 steps at batch 8" in capsys.readouterr().out


@pytest.mark.parametrize("command", [run_command, plan])
def test_budget_and_more_steps_are_refused_together(call, command):
    with pytest.raises(ConfigError, match=f"--more-steps: {NOT_WITH_BUDGET}"):
        call(command, "--budget", "10m", "--more-steps", "5")


def test_run_without_a_request_is_not_told_of_one(make_namespace_context, capsys):
    context, arguments = make_namespace_context
    assert give_more_steps(context, arguments).continued == {}
    assert capsys.readouterr().out == ""


@pytest.fixture
def make_namespace_context(tiny_recipe, tmp_path):
    from vqgen.runtime.compute import Compute
    from vqgen.runtime.processes import make_accelerator
    from vqgen.stages.context import RunContext

    compute = Compute.resolve("cpu")
    return RunContext(tiny_recipe(), tmp_path / "run", compute, make_accelerator(compute)), argparse.Namespace()
