"""`vqgen train-prior`: one stage of a run: train the priors, or one of them."""

import argparse
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_parallel_stages_argument, add_run_arguments
from vqgen.commands.more_steps import add_more_steps_argument
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.config import AnyRecipe
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_run_arguments(parser)
    add_parallel_stages_argument(parser)
    add_more_steps_argument(parser)
    parser.add_argument("--level", help="level of the prior to train (default: all levels, coarse to fine)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.staging import resolve_recipe, work_on_run
    from vqgen.config import require_codes

    if arguments.level is not None:  # before the processes meet and the folder is locked
        levels = require_codes(resolve_recipe(arguments)[0]).levels
        if arguments.level not in levels:
            raise ConfigError(f"--level: should be one of {', '.join(levels)}, found {arguments.level!r}")

    def stages(recipe: "AnyRecipe") -> list[str]:
        return [f"prior-{level}" for level in require_codes(recipe).levels if arguments.level in (None, level)]

    def act(context: "RunContext") -> None:
        from vqgen.stages.run import run_stages

        run_stages(context, stages(context.recipe))

    return work_on_run(arguments, act, stages=stages)
