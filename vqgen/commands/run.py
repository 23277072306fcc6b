"""`vqgen run`: train every stage of a recipe and generate samples."""

import argparse
import time
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_parallel_stages_argument, add_run_arguments
from vqgen.commands.budget import add_budget_argument, budget_request
from vqgen.commands.long_runs import add_yes_argument, tell_time
from vqgen.commands.more_steps import NOT_WITH_BUDGET, add_more_steps_argument, give_more_steps
from vqgen.commands.staging import work_on_run
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_run_arguments(parser)
    add_parallel_stages_argument(parser)
    add_budget_argument(parser)
    add_more_steps_argument(parser)
    add_yes_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    if arguments.budget is None:
        return work_on_run(arguments, _act, lambda context: tell_time(context, arguments))
    if arguments.more_steps:
        raise ConfigError(f"--more-steps: {NOT_WITH_BUDGET}")
    begin = time.perf_counter()

    from vqgen.stages.budgeted_run import RunBudget

    budget = RunBudget(budget_request(arguments, begin))
    # The chosen recipe has the steps of the day on which the run began; some stages may have got more since.
    return work_on_run(arguments, budget.run, lambda context: give_more_steps(budget.prepare(context), arguments))


def _act(context: "RunContext") -> None:
    from vqgen.stages.run import run_all

    run_all(context)
