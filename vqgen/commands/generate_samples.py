"""`vqgen generate-samples`: one stage of a run: generate its samples."""

import argparse
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_run_arguments

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_run_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.staging import work_on_run

    return work_on_run(arguments, _act)


def _act(context: "RunContext") -> None:
    from vqgen.stages.run import sample_run

    sample_run(context)
