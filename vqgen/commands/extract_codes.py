"""`vqgen extract-codes`: one stage of a run: turn the images into codes."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.extract_codes import extract_codes

    extract_codes(context)


add_arguments, run = stage_command(_act)
