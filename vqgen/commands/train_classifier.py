"""`vqgen train-classifier`: one stage of a run: train the classifier of real images."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.train_classifier import train_classifier

    train_classifier(context)


add_arguments, run = stage_command(_act)
