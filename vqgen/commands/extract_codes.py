"""`vqgen extract-codes`: one stage of a run: turn the images into codes."""

from vqgen.commands.staging import stage_command

TAKES_OVERRIDES = True

add_arguments, run = stage_command("codes")
