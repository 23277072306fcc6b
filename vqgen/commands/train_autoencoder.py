"""`vqgen train-autoencoder`: one stage of a baseline's run: train its autoencoder."""

from vqgen.commands.staging import stage_command

TAKES_OVERRIDES = True

add_arguments, run = stage_command("autoencoder")
