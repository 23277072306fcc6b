"""`vqgen train-vqvae`: one stage of a run: train the VQ-VAE."""

from typing import TYPE_CHECKING

from vqgen.commands.staging import stage_command

if TYPE_CHECKING:
    from vqgen.stages.context import RunContext

TAKES_OVERRIDES = True


def _act(context: "RunContext") -> None:
    from vqgen.stages.train_vqvae import train_vqvae

    train_vqvae(context)


add_arguments, run = stage_command(_act)
