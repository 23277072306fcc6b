"""`vqgen train-vqvae`: one stage of a run: train the VQ-VAE."""

from vqgen.commands.staging import stage_command

TAKES_OVERRIDES = True

add_arguments, run = stage_command("vqvae")
