"""`vqgen generate-samples`: one stage of a run: generate its samples."""

from vqgen.commands.staging import stage_command

TAKES_OVERRIDES = True

add_arguments, run = stage_command("samples")
