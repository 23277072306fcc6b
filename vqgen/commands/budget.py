"""`--budget`: the option of a run that ends within a time."""

import argparse
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqgen.stages.budgeted_run import BudgetRequest

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_budget_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --budget."""
    parser.add_argument(
        "--budget",
        type=budget_seconds,
        metavar="TIME",
        help="choose model sizes and steps so that the run ends within this time on this machine: 45m, 2h, 1h30m, 90s",
    )


def budget_seconds(text: str) -> float:
    """Parses a time such as `45m`, `2h`, `1h30m`, `1.5h` or `90s` and returns it in seconds.

    A number without a unit is refused: some would mean minutes by it, and others seconds.

    Raises:
        ArgumentTypeError: The text is not a time, or the time is 0.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text.strip().lower())
    left = re.sub(r"(\d+(?:\.\d+)?)\s*([dhms])\s*", "", text.strip().lower())
    units = [unit for _, unit in parts]
    if not parts or left or sorted(units, key="dhms".index) != units or len(set(units)) < len(units):
        raise argparse.ArgumentTypeError(f"should be a time with its units, like 45m, 2h, 1h30m or 90s, found {text!r}")
    seconds = sum(float(count) * _UNITS[unit] for count, unit in parts)
    if seconds == 0:
        raise argparse.ArgumentTypeError(f"should be above 0, found {text!r}; 10m is a first look")
    return seconds


def budget_request(arguments: argparse.Namespace, begin: float) -> "BudgetRequest":
    """Returns the budget that the words of a command ask for.

    Args:
        arguments: The parsed words, with `recipe`, `overrides` and `budget`.
        begin: Time at which the command began, by `time.perf_counter`.
    """
    from vqgen.stages.budgeted_run import BudgetRequest

    return BudgetRequest(arguments.budget, arguments.recipe, tuple(arguments.overrides), begin)
