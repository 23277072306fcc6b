import argparse
import re
from dataclasses import replace

import pytest
import tomli_w

from vqgen.commands import run as command
from vqgen.errors import CheckpointError, ConfigError


@pytest.fixture
def run(tiny_document, tmp_path):
    """Runs the command on the tiny recipe, with overrides."""
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tiny_document()))

    def run_command(*words, overrides=()):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        place = ("--checkpoints", str(tmp_path / "runs"), "--device", "cpu", "--quiet")
        arguments = parser.parse_args([str(tmp_path / "tiny.toml"), *place, *words])
        arguments.overrides = list(overrides)
        return command.run(arguments)

    return run_command


@pytest.fixture
def stages(monkeypatch):
    """The runs and stages that the command would work on, instead of the work."""
    done = []
    monkeypatch.setattr("vqgen.stages.run.run_one", lambda context, stage: done.append((context, stage)))
    return done


def test_every_stage_is_run_in_order_with_exit_code_0(run, stages, tiny_recipe):
    assert run() == 0
    assert [stage for _, stage in stages] == list(tiny_recipe().stage_names)
    assert len({id(context) for context, _ in stages}) == 1


def test_overrides_reach_the_recipe_of_the_run(run, stages, tiny_recipe, tmp_path):
    assert command.TAKES_OVERRIDES
    assert run("--run-name", "second", overrides=["--seed", "7", "--priors.0.channels", "16"]) == 0
    context, _ = stages[0]
    expected = tiny_recipe().model_dump()
    expected["seed"] = 7
    expected["priors"][0]["channels"] = 16
    assert context.recipe.model_dump() == expected
    assert context.folder == tmp_path / "runs" / "second"


@pytest.mark.parametrize(
    ("words", "redo", "force"), [((), False, False), (("--redo",), True, False), (("--force",), False, True)]
)
def test_switches_reach_the_run(run, stages, words, redo, force):
    assert run(*words) == 0
    context, _ = stages[0]
    assert (context.redo, context.force) == (redo, force)


@pytest.mark.parametrize(
    ("words", "number"), [((), None), (("--parallel-stages", "auto"), None), (("--parallel-stages", "2"), 2)]
)
def test_number_of_parallel_stages_reaches_the_run(run, monkeypatch, words, number):
    seen = []
    monkeypatch.setattr("vqgen.stages.run.run_all", lambda context: seen.append(context.parallel_stages))
    assert run(*words) == 0
    assert seen == [number]


@pytest.mark.slow
def test_dry_run_tells_the_stages_side_by_side(run, stages, monkeypatch, capsys):
    monkeypatch.setattr("vqgen.stages.schedule.free_host_memory", lambda: 10**11)
    assert run("--dry-run", "--parallel-stages", "2") == 0
    assert re.search(
        r"^  side by side +prior-(top|bottom), prior-(top|bottom); at most 2 at a time$", capsys.readouterr().out, re.M
    )
    assert run("--dry-run", "--parallel-stages", "1") == 0
    assert "side by side" not in capsys.readouterr().out
    assert stages == []


@pytest.mark.slow
def test_parallel_stages_without_the_memory_are_refused_and_leave_nothing(run, stages, monkeypatch, tmp_path):
    monkeypatch.setattr("vqgen.stages.schedule.free_host_memory", lambda: 10**6)
    for words in ((), ("--dry-run",)):
        with pytest.raises(
            ConfigError, match=r"--parallel-stages: should be auto or at most 1 with .* free memory, found 2"
        ):
            run("--parallel-stages", "2", *words)
    assert stages == []
    assert not (tmp_path / "runs").exists()


def test_budget_chooses_the_recipe_and_runs_it(run, stages, monkeypatch):
    seen = []

    class Budget:
        def __init__(self, request):
            seen.append(request.seconds)

        def prepare(self, context):
            return replace(context, recipe=context.recipe.model_copy(update={"seed": 11}))

        def run(self, context):
            seen.append(context.recipe.seed)

    monkeypatch.setattr("vqgen.stages.budgeted_run.RunBudget", Budget)
    assert run("--budget", "45m") == 0
    assert seen == [2700.0, 11]
    assert stages == []


def test_time_of_a_run_without_a_budget_is_told_before_the_work(run, stages, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "tell_time", lambda context, arguments: (seen.append(len(stages)), context)[1])
    assert run("--yes") == 0
    assert seen == [0]


def test_wrong_override_is_refused_before_a_stage(run, stages, tmp_path):
    with pytest.raises(ConfigError, match="nonsense"):
        run(overrides=["--nonsense", "1"])
    assert stages == []
    assert not (tmp_path / "runs").exists()


def test_error_of_a_stage_is_raised_and_the_later_stages_are_not_run(run, monkeypatch):
    begun = []

    def fail(context, stage):
        begun.append(stage)
        raise CheckpointError(f"{stage}: damaged")

    monkeypatch.setattr("vqgen.stages.run.run_one", fail)
    with pytest.raises(CheckpointError, match="vqvae: damaged"):
        run()
    assert begun == ["vqvae"]


@pytest.mark.parametrize("option", ["--dry-run", "--fields"])
def test_listing_runs_no_stage(run, stages, option, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vqgen.commands.staging._print_plan", lambda context: print("the plan"))
    assert run(option) == 0
    assert stages == []
    assert capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("code", [0, 1])
def test_exit_code_is_that_of_the_work(run, monkeypatch, code):
    monkeypatch.setattr("vqgen.commands.run.work_on_run", lambda *words: code)
    assert run() == code
