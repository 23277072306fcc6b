"""`vqgen train-classifier`: one stage of a run: train the classifier of real images."""

from vqgen.commands.staging import stage_command

TAKES_OVERRIDES = True

add_arguments, run = stage_command("classifier")
