"""`--budget`: a run that ends within a time."""

import argparse
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vqgen.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from vqgen.config import AnyRecipe
    from vqgen.planning.budget import BudgetRecord
    from vqgen.planning.budget_choice import BudgetChoice
    from vqgen.planning.budget_pictures import Pictures
    from vqgen.planning.budget_times import Places
    from vqgen.runtime.compute import Compute
    from vqgen.stages.context import RunContext

FREE_RECIPE = "folder"
"""The shipped recipe whose sizes are free: it is for pictures that nobody has seen. All others keep their structure."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_START = 0.5
"""Seconds of a process before its command begins: Python itself."""


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


class RunBudget:
    """The budget of one session of a run: from the choice of the recipe, new or stored, to the record at its end.

    Args:
        arguments: The parsed words of the command, with `budget`.
        begin: Time at which the command began, by `time.perf_counter`.
    """

    def __init__(self, arguments: argparse.Namespace, begin: float) -> None:
        self.arguments = arguments
        self.seconds: float = arguments.budget
        self._begin = begin
        self._record: BudgetRecord | None = None

    def prepare(self, context: "RunContext") -> "RunContext":
        """Returns the run with the recipe that fits the budget, chosen now or when the run began.

        Raises:
            ConfigError: The budget is too short. The message says the least that is possible.
            CheckpointError: The run was begun with another budget, recipe or other pictures.
        """
        self._record = context.on_main(lambda: self._find(context))
        return replace(context, recipe=self._keep(self._record.chosen))

    def run(self, context: "RunContext") -> None:
        """Runs every stage. Before each group of stages, the time that is left is shared among the trainings."""
        from vqgen.planning.budget_scaling import with_limits
        from vqgen.planning.budget_times import PREPARATION
        from vqgen.planning.text import duration
        from vqgen.stages.run import run_stages
        from vqgen.stages.schedule import stage_groups

        record = self._record
        assert record is not None, "prepare comes first"
        context.on_main(lambda: record.write(context.folder))
        recipe = context.recipe
        # A killed session is missing in the record, but its stages tell most of its time.
        before = max(sum(record.sessions), sum(stage_seconds(context, recipe)[0].values()))
        try:
            for number, group in enumerate(stage_groups(recipe, recipe.stage_names)):
                done = [PREPARATION] if number else []
                limits = context.on_main(lambda done=done: self._limits(context, record, before, done))
                # The same object, because it holds the images. Limits are no part of a fingerprint.
                context.recipe = with_limits(recipe, limits)
                run_stages(context, group)
        finally:
            if context.is_main:
                replace(record, sessions=[*record.sessions, round(self._elapsed, 1)]).write(context.folder)
        context.say(f"budget {duration(self.seconds)}: took {duration(before + self._elapsed)}")

    def _limits(
        self, context: "RunContext", record: "BudgetRecord", before: float, done: list[str]
    ) -> dict[str, float]:
        """Shares the time that is left, after `before` seconds of earlier sessions and those of this session."""
        from vqgen.planning.budget_choice import time_limits

        used, complete = stage_seconds(context, context.recipe)
        left = self.seconds - before - self._elapsed
        return time_limits(record.times, left, used, [*complete, *done], places_of(context.compute, context))

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._begin + _START

    def _keep(self, recipe: "AnyRecipe") -> "AnyRecipe":
        from vqgen.config.overrides import apply_overrides

        return apply_overrides(recipe, self.arguments.overrides)

    def _find(self, context: "RunContext") -> "BudgetRecord":
        """Returns the stored choice of the run folder, or makes one."""
        from vqgen.config import differences
        from vqgen.planning.budget import BudgetRecord, request_of
        from vqgen.planning.budget_pictures import counted_images

        request = request_of(self.seconds, context.recipe, counted_images(context.recipe.data))
        stored = BudgetRecord.read(context.folder)
        if stored is None:
            return self._choose(context, request)
        changed = differences(stored.request, request)
        if not changed:
            context.say("budget: goes on with the recipe that was chosen when the run began")
            return stored
        if context.redo:
            return self._choose(context, request)
        raise CheckpointError(
            "\n".join(
                [
                    f"{context.folder}: the run was begun with another budget, recipe or other pictures:",
                    *(f"  {line}" for line in changed[:5]),
                    "--redo chooses anew and makes again what changes; --run-name begins another run",
                ]
            )
        )

    def _choose(self, context: "RunContext", request: dict[str, object]) -> "BudgetRecord":
        from vqgen.planning.budget import BudgetRecord
        from vqgen.planning.budget_text import choice_lines

        left = time_left(self.seconds, self._begin)
        places = places_of(context.compute, context)
        choice, pictures = choose_for(
            self.arguments, context.compute, left, places=places, processes=context.world_size
        )
        lines = choice_lines(self.seconds, choice, pictures)
        context.say("\n".join(lines))
        return BudgetRecord(request, choice.recipe.model_dump(mode="json"), choice.times, lines)


def time_left(budget: float, begin: float) -> "Callable[[], float]":
    """Returns a clock of the seconds that are left of a budget, without the margin.

    Args:
        budget: Seconds of the budget.
        begin: Time at which the command began, by `time.perf_counter`.
    """
    from vqgen.planning.budget_choice import MARGIN

    return lambda: budget * (1 - MARGIN) - _START - (time.perf_counter() - begin)


def places_of(compute: "Compute", context: "RunContext | None" = None) -> "Places":
    """Returns the room for stages that run side by side.

    Args:
        compute: Device of the run.
        context: The run; None for a run that begins as `vqgen run` does.
    """
    from vqgen.planning.budget_times import ONE_BY_ONE, Places
    from vqgen.runtime.cores import available_cores

    if compute.device.type != "cpu" or (context is not None and context.is_launched):
        return ONE_BY_ONE  # several GPUs end sooner than this says
    wanted = None if context is None else context.parallel_stages
    if wanted is not None:
        return Places(cores=wanted * available_cores(), most=wanted)  # a given number is taken as it is
    return Places(cores=available_cores(), most=available_cores())


def choose_for(
    arguments: argparse.Namespace,
    compute: "Compute",
    left: "Callable[[], float]",
    *,
    places: "Places",
    processes: int = 1,
) -> "tuple[BudgetChoice, Pictures]":
    """Chooses the recipe for the budget of a command.

    Args:
        arguments: The parsed words, with `recipe`, `overrides` and `budget`.
        compute: Device and dtype of the run.
        left: Returns the seconds that are left for the run, without the margin.
        places: The room for stages that run side by side.
        processes: Processes that share each batch.

    Raises:
        ConfigError: The budget is too short. The message says the least that is possible.
        DataError: There are no pictures, or they cannot be read.
    """
    from vqgen.config import find_recipe, read_recipe, shipped_recipes
    from vqgen.config.overrides import apply_overrides
    from vqgen.planning.budget import choose_recipe
    from vqgen.planning.budget_choice import MARGIN, TooShortError
    from vqgen.planning.budget_text import exact_duration
    from vqgen.runtime.cores import available_cores

    path = find_recipe(arguments.recipe)
    try:
        return choose_recipe(
            read_recipe(path),
            lambda recipe: apply_overrides(recipe, arguments.overrides),
            compute,
            left,
            is_free=path == shipped_recipes()[FREE_RECIPE],
            cores=available_cores(),
            processes=processes,
            places=places,
        )
    except TooShortError as error:
        # The time that is used up already is needed in the next try, too. Rounded up, because that one measures anew.
        used = arguments.budget * (1 - MARGIN) - left()
        least = math.ceil((used + error.least_seconds) / (1 - MARGIN) / 5) * 5
        raise ConfigError(
            f"--budget: should be at least {exact_duration(least)}, which the shortest run takes on this machine, "
            f"found {exact_duration(arguments.budget)}"
        ) from error


def stage_seconds(context: "RunContext", recipe: "AnyRecipe") -> tuple[dict[str, float], list[str]]:
    """Returns the time that each stage of a run has taken so far, and the stages that are complete.

    A stage of another recipe, and the stages after it, are left out: they are made again.
    """
    from vqgen.config import differences, stage_fields
    from vqgen.stages.records import read_record
    from vqgen.training.state import seconds_of_training

    used: dict[str, float] = {}
    complete: list[str] = []
    for stage in recipe.stage_names:
        record = read_record(context.folder / stage)
        if record is None:
            continue
        if differences(record.fields, stage_fields(recipe, stage)):
            break
        used[stage] = (seconds_of_training(context.folder / stage) if not record.complete else record.seconds) or 0.0
        if record.complete:
            complete.append(stage)
    return used, complete
