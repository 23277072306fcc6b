"""`vqgen run`: train every stage of a recipe and generate samples."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.run import run_all

    run_all(context)


add_arguments, run = stage_command(_act)
