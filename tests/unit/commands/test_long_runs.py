import argparse

import pytest

from vqgen.commands import long_runs as command
from vqgen.commands.long_runs import tell_time
from vqgen.config import stage_fields
from vqgen.errors import ConfigError
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine
from vqgen.runtime.processes import make_accelerator
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord

CPU = Compute.resolve("cpu")


@pytest.fixture
def context(tiny_recipe, tmp_path):
    return RunContext(tiny_recipe(), tmp_path / "run", CPU, make_accelerator(CPU), quiet=True)


@pytest.fixture
def arguments():
    return argparse.Namespace(yes=False, dry_run=False)


@pytest.fixture
def speed(monkeypatch):
    def set_speed(flops):
        monkeypatch.setattr("vqgen.runtime.machine.measure_machine", lambda device: Machine(flops, flops, 1e20))

    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    return set_speed


def test_short_run_is_neither_measured_nor_told(context, arguments, monkeypatch, capsys):
    monkeypatch.setattr("vqgen.runtime.machine.measure_machine", lambda device: pytest.fail("measured"))
    assert tell_time(context, arguments) is context
    assert capsys.readouterr().out == ""


def long_run(context, steps):
    vqvae = context.recipe.vqvae
    train = vqvae.train.model_copy(update={"steps": steps})
    context.recipe = context.recipe.model_copy(update={"vqvae": vqvae.model_copy(update={"train": train})})
    return context


@pytest.mark.parametrize(("steps", "budget"), [(1_000_000, "30m"), (3_000_000, "2h")])
def test_long_run_is_told_with_a_budget_that_fits(context, arguments, speed, capsys, steps, budget):
    speed(1e30)
    tell_time(long_run(context, steps), arguments)
    told = capsys.readouterr().out
    assert told.startswith("time: about ")
    assert f"hours on this machine; `--budget {budget}` fits it" in told


def test_run_of_days_asks_for_yes_on_a_terminal_only(context, arguments, speed, monkeypatch, capsys):
    speed(1e30)
    run = long_run(context, 100_000_000)
    with pytest.raises(ConfigError, match=r"--yes: is needed to begin a run of about [0-9,]+ hours on this machine"):
        tell_time(run, arguments)
    for changes in ({"yes": True}, {"dry_run": True}):
        tell_time(run, argparse.Namespace(**vars(arguments) | changes))
    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: False, raising=False)
    tell_time(run, arguments)
    assert capsys.readouterr().out.count("`--budget 2h` fits it") == 4


def test_complete_stages_do_not_count(context, arguments, speed, capsys):
    speed(1e30)
    run = long_run(context, 100_000_000)
    fields = stage_fields(run.recipe, "vqvae")
    StageRecord("vqvae", fields, {}, {}, complete=True).write(run.folder / "vqvae")
    tell_time(run, arguments)
    assert capsys.readouterr().out == ""


def test_images_of_a_complete_run_are_not_counted(context, arguments, monkeypatch):
    # A large folder takes seconds to list, and a second start has nothing to estimate.
    monkeypatch.setattr("vqgen.stages.states.shares_to_do", lambda context: {"vqvae": 0.0, "codes": 0.0})
    monkeypatch.setattr("vqgen.planning.build.build_planner", lambda *_, **__: pytest.fail("counted"))
    assert tell_time(context, arguments) is context
