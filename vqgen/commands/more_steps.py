"""`--more-steps`: the option of commands that train, for trainings that have begun."""

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqgen.stages.context import RunContext
    from vqgen.stages.more_steps import MoreSteps

Word = tuple[str | None, int | None]
"""A stage and a number of steps. Without a stage they are for each; without steps the recipe has the new length."""

NOT_WITH_BUDGET = "should be left out with --budget, which chooses the steps by the time"
"""The reason why two options do not go together."""


def add_more_steps_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --more-steps."""
    parser.add_argument(
        "--more-steps",
        type=more_steps_word,
        nargs="?",
        const=(None, None),
        action="append",
        metavar="STAGE=N",
        help="train a stage that has begun for N more steps from its saved state, and make again what follows; without "
        "STAGE each training of the command, without N up to the steps of the recipe; can be repeated",
    )


def more_steps_word(text: str) -> Word:
    """Parses `2000` or `prior-top=2000`.

    Raises:
        ArgumentTypeError: The text is neither.
    """
    found = re.fullmatch(r"(?:([A-Za-z][A-Za-z-]*)=)?([0-9]+)", text)
    if found is None or int(found[2]) == 0:
        raise argparse.ArgumentTypeError(
            f"should be a whole number of steps from 1 up, or STAGE=N such as vqvae=2000, found {text!r}"
        )
    return found[1], int(found[2])


def more_steps_request(arguments: argparse.Namespace) -> "MoreSteps | None":
    """Returns the request of the parsed words; None without --more-steps.

    Raises:
        ConfigError: Two words are about the same steps.
    """
    words: list[Word] = getattr(arguments, "more_steps", None) or []
    if not words:
        return None
    from vqgen.stages.more_steps import MoreSteps

    repeated = {stage for stage, _ in words if [each for each, _ in words].count(stage) > 1}
    if repeated:
        names = ", ".join(sorted(f"{stage}=N" if stage else "N" for stage in repeated))
        raise ConfigError(f"--more-steps: should be given once for each stage, found {names} more than once")
    by_stage = {stage: steps for stage, steps in words if stage is not None and steps is not None}
    each = next((steps for stage, steps in words if stage is None and steps is not None), None)
    return MoreSteps(by_stage, each, of_recipe=(None, None) in words)


def give_more_steps(
    context: "RunContext", arguments: argparse.Namespace, stages: "Sequence[str] | None" = None
) -> "RunContext":
    """Returns the run with the lengths of earlier requests for more steps and of this one, and tells the changes.

    Args:
        context: The run.
        arguments: The parsed words.
        stages: The stages that the command works on; None for all of the recipe.

    Raises:
        VQGenError: The request cannot be answered; see `vqgen.stages.more_steps.lengthened`.
    """
    from vqgen.stages.more_steps import LongerRun, MoreSteps, adopted_recipe, lengthened

    request = more_steps_request(arguments)
    known = list(dict.fromkeys([*context.recipe.stage_names, *(stages or ())]))

    def answer() -> LongerRun:
        recipe = adopted_recipe(context.recipe, context.folder, known)
        return lengthened(recipe, context.folder, stages or context.recipe.stage_names, request or MoreSteps())

    longer = context.on_main(answer)
    run = replace(context, recipe=longer.recipe, continued=longer.continued)
    if request is not None:
        run.say("\n".join(_told(run, longer.notes, stages)))
    return run


def _told(run: "RunContext", notes: "Sequence[str]", stages: "Sequence[str] | None") -> list[str]:
    """Returns the lines that tell the stages that go on, and those that follow."""
    from vqgen.config.lengths import length_of
    from vqgen.stages.states import AGAIN, stage_states

    states = stage_states(run)

    def state(stage: str) -> str:
        length = f", with {length_of(run.recipe, stage).text}" if states.get(stage) == AGAIN else ""
        return f"  {stage:<16} {states.get(stage, 'go on')}{length}"

    longer = [state(stage) for stage in run.continued]
    if not longer and not notes:
        return ["more steps: none, every stage has the steps of the recipe"]
    lines = ["more steps:", *longer, *notes]
    again = [stage for stage, state in states.items() if state == AGAIN and stage not in run.continued]
    mine = [stage for stage in again if stages is None or stage in stages]
    others = [stage for stage in again if stage not in mine]
    if mine:
        lines.append(f"  {', '.join(mine)}: made again after that")
    if others:
        lines.append(f"  {', '.join(others)}: stale after that; `vqgen run` makes them again")
    return [*lines, "  a stage as it is now is kept as STAGE.old-N"]
