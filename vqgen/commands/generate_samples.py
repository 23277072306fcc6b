"""`vqgen generate-samples`: one stage of a run: generate its samples."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.generate_samples import generate_samples

    generate_samples(context)


add_arguments, run = stage_command(_act)
