"""A budget and the choice made for it, in words."""

import math

from vqgen.planning.budget_choice import MARGIN, BudgetChoice
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.text import duration
from vqgen.reports.tables import format_table


def choice_lines(budget: float, choice: BudgetChoice, pictures: Pictures) -> list[str]:
    """Explains a choice: its size and time, the time of each part, and the sizes that were not chosen.

    Args:
        budget: Seconds of the budget.
        choice: The choice.
        pictures: The pictures of the run.
    """
    rows = [("part", "steps", "a step", "in all")]
    rows += [
        (
            time.stage,
            "-" if time.steps is None else f"{time.steps:,}",
            "-" if time.steps is None else duration(time.step_seconds),
            duration(time.seconds),
        )
        for time in choice.times
    ]
    table = [f"  {line}" for line in format_table(rows).splitlines()]
    return [
        f"budget {exact_duration(budget)}: {choice.name}, {_steps_text(choice.share)}; about "
        f"{duration(choice.seconds)} from here on",
        f"  {pictures.text}",
        *table,
        f"  {100 * MARGIN:.0f} % of the budget is kept back; a training that is slower than planned ends at its share",
        *(f"  {line}" for line in _reasons(choice)),
    ]


def _steps_text(share: float) -> str:
    return "with all of its steps" if share == 1 else f"with {100 * share:.3g} % of its usual steps"


def _reasons(choice: BudgetChoice) -> list[str]:
    """Tells the times of the candidates next to the chosen one."""
    names = [tried.name for tried in choice.tried]
    place = names.index(choice.name)
    lines = [choice.too_large] if choice.too_large else []
    if place > 0:
        larger = choice.tried[place - 1]
        how = "measured" if larger.is_measured else "estimated"
        lines.append(
            f"{larger.name}: not chosen; with the fewest steps that are worth its size it takes about "
            f"{duration(larger.least_seconds)} ({how}), and more steps of a smaller size are better than fewer"
        )
    return lines


def exact_duration(seconds: float) -> str:
    """Writes a time as `--budget` takes it: `1h30m`, `45m`, `90s`."""
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)
