"""`vqgen run`: train every stage of a recipe and generate samples."""

import argparse
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_parallel_stages_argument, add_run_arguments
from vqgen.commands.staging import work_on_run

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_run_arguments(parser)
    add_parallel_stages_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    return work_on_run(arguments, _act)


def _act(context: "RunContext") -> None:
    from vqgen.stages.run import run_all

    run_all(context)
