"""The time of a long run on a CPU, which is told before the run begins."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

_TOLD_FROM = 3600.0
"""Estimated seconds from which a run without a budget is told to take long."""

_ASKED_FROM = 24 * 3600.0
"""Estimated seconds from which a run without a budget asks for --yes on a terminal."""

_SLOW_FLOPS = 5e9
"""FLOP/s that any core of the last ten years has. A run that is short at this speed needs no measurement."""


def add_yes_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --yes."""
    parser.add_argument("--yes", action="store_true", help="begin a run that takes more than 24 hours without asking")


def tell_time(context: "RunContext", arguments: argparse.Namespace) -> "RunContext":
    """Tells the time of a long run on a CPU before it begins, and returns the run.

    Args:
        context: The run.
        arguments: The parsed words, with `yes` and `dry_run`.

    Raises:
        ConfigError: The run takes more than a day, and the user at the terminal has not agreed to that.
    """
    if context.device.type == "cpu":
        seconds = context.on_main(lambda: _seconds_to_do(context))
        if seconds >= _TOLD_FROM:
            text = f"about {_hours(seconds)} on this machine; `--budget {_fitting(seconds)}` fits it"
            context.say(f"time: {text}")
            if seconds >= _ASKED_FROM and sys.stdin.isatty() and not (arguments.yes or arguments.dry_run):
                raise ConfigError(f"--yes: is needed to begin a run of {text}")
    return context


def _seconds_to_do(context: "RunContext") -> float:
    """Estimates the time of the stages that are not complete. A run that is short on any machine is not measured."""
    from vqgen.planning.build import build_planner
    from vqgen.runtime.machine import Machine, measure_machine
    from vqgen.stages.states import shares_to_do

    shares = shares_to_do(context)
    if not any(shares.values()):
        return 0.0  # before the images are counted: a large folder takes seconds
    planner = build_planner(context.recipe, context.compute, {}, measure=False)

    def seconds(machine: Machine) -> float:
        stages = replace(planner, machine=machine).stages()
        return sum(shares.get(stage.stage, 0.0) * (stage.seconds or 0.0) for stage in stages)

    at_most = seconds(Machine(_SLOW_FLOPS, _SLOW_FLOPS, _SLOW_FLOPS))
    return at_most if at_most < _TOLD_FROM else seconds(measure_machine(context.device))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f} hours" if hours >= 9.95 else f"{hours:.1f} hours"


def _fitting(seconds: float) -> str:
    """Returns a budget to propose for a run that takes some seconds."""
    return "2h" if seconds > 3 * 3600 else "30m"
