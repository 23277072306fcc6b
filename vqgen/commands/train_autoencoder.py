"""`vqgen train-autoencoder`: one stage of a baseline's run: train its autoencoder."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.autoencoder.train import train_autoencoder

    train_autoencoder(context)


add_arguments, run = stage_command(_act)
