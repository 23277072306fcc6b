"""A run within a budget of time: from the choice of its recipe, new or stored, to the record at its end.

budget --> recipe (chosen, or that of budget.json) --> before each group of stages: limits of time --> run --> record
"""

import math
import time
from dataclasses import dataclass, replace

from vqgen.config import AnyRecipe, differences, find_recipe, read_recipe, shipped_recipes, stage_fields
from vqgen.config.overrides import apply_overrides
from vqgen.errors import CheckpointError, ConfigError
from vqgen.planning.budget import BudgetRecord, choose_recipe, request_of
from vqgen.planning.budget_choice import MARGIN, BudgetChoice, TooShortError, time_limits
from vqgen.planning.budget_pictures import Pictures, counted_images
from vqgen.planning.budget_scaling import with_limits
from vqgen.planning.budget_text import choice_lines, exact_duration
from vqgen.planning.budget_times import ONE_BY_ONE, PREPARATION, Places
from vqgen.planning.text import duration
from vqgen.runtime.compute import Compute
from vqgen.runtime.cores import available_cores
from vqgen.stages.context import RunContext
from vqgen.stages.records import read_record
from vqgen.stages.run import run_stages
from vqgen.stages.schedule import stage_groups
from vqgen.training.state import seconds_of_training

FREE_RECIPE = "folder"
"""The shipped recipe whose sizes are free: it is for pictures that nobody has seen. All others keep their structure."""

_START = 0.5
"""Seconds of a process before its command begins: Python itself."""


@dataclass(frozen=True)
class BudgetRequest:
    """A budget, and the recipe that has to fit it.

    Attributes:
        seconds: The budget.
        recipe: Name or path of the recipe.
        overrides: The words that override its fields; the choice keeps these fields.
        begin: Time at which the command began, by `time.perf_counter`.
    """

    seconds: float
    recipe: str
    overrides: tuple[str, ...]
    begin: float

    @property
    def elapsed(self) -> float:
        """Seconds since the process began."""
        return time.perf_counter() - self.begin + _START

    def left(self) -> float:
        """Returns the seconds that are left for the run, without the margin."""
        return self.seconds * (1 - MARGIN) - self.elapsed

    def keep(self, recipe: AnyRecipe) -> AnyRecipe:
        """Returns a recipe with the fields that the user gave in place of its own."""
        return apply_overrides(recipe, list(self.overrides))


class RunBudget:
    """The budget of one session of a run: from the choice of the recipe, new or stored, to the record at its end.

    Args:
        request: The budget.
    """

    def __init__(self, request: BudgetRequest) -> None:
        self.request = request
        self._record: BudgetRecord | None = None

    def prepare(self, context: RunContext) -> RunContext:
        """Returns the run with the recipe that fits the budget, chosen now or when the run began.

        Raises:
            ConfigError: The budget is too short. The message says the least that is possible.
            CheckpointError: The run was begun with another budget, recipe or other pictures.
        """
        self._record = context.on_main(lambda: self._find(context))
        return replace(context, recipe=self.request.keep(self._record.chosen))

    def run(self, context: RunContext) -> None:
        """Runs every stage. Before each group of stages, the time that is left is shared among the trainings."""
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
                replace(record, sessions=[*record.sessions, round(self.request.elapsed, 1)]).write(context.folder)
        context.say(f"budget {duration(self.request.seconds)}: took {duration(before + self.request.elapsed)}")

    def _limits(self, context: RunContext, record: BudgetRecord, before: float, done: list[str]) -> dict[str, float]:
        """Shares the time that is left, after `before` seconds of earlier sessions and those of this session."""
        used, complete = stage_seconds(context, context.recipe)
        left = self.request.seconds - before - self.request.elapsed
        return time_limits(record.times, left, used, [*complete, *done], places_of(context.compute, context))

    def _find(self, context: RunContext) -> BudgetRecord:
        """Returns the stored choice of the run folder, or makes one."""
        request = request_of(self.request.seconds, context.recipe, counted_images(context.recipe.data))
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

    def _choose(self, context: RunContext, request: dict[str, object]) -> BudgetRecord:
        places = places_of(context.compute, context)
        choice, pictures = choose_for(self.request, context.compute, places=places, processes=context.world_size)
        lines = choice_lines(self.request.seconds, choice, pictures)
        context.say("\n".join(lines))
        return BudgetRecord(request, choice.recipe.model_dump(mode="json"), choice.times, lines)


def places_of(compute: Compute, context: RunContext | None = None) -> Places:
    """Returns the room for stages that run side by side.

    Args:
        compute: Device of the run.
        context: The run; None for a run that begins as `vqgen run` does.
    """
    if compute.device.type != "cpu" or (context is not None and context.is_launched):
        return ONE_BY_ONE  # several GPUs end sooner than this says
    wanted = None if context is None else context.parallel_stages
    if wanted is not None:
        return Places(cores=wanted * available_cores(), most=wanted)  # a given number is taken as it is
    return Places(cores=available_cores(), most=available_cores())


def choose_for(
    request: BudgetRequest, compute: Compute, *, places: Places, processes: int = 1
) -> tuple[BudgetChoice, Pictures]:
    """Chooses the recipe for a budget.

    Args:
        request: The budget.
        compute: Device and dtype of the run.
        places: The room for stages that run side by side.
        processes: Processes that share each batch.

    Raises:
        ConfigError: The budget is too short. The message says the least that is possible.
        DataError: There are no pictures, or they cannot be read.
    """
    path = find_recipe(request.recipe)
    try:
        return choose_recipe(
            read_recipe(path),
            request.keep,
            compute,
            request.left,
            is_free=path == shipped_recipes()[FREE_RECIPE],
            cores=available_cores(),
            processes=processes,
            places=places,
        )
    except TooShortError as error:
        # The time that is used up already is needed in the next try, too. Rounded up, because that one measures anew.
        used = request.seconds * (1 - MARGIN) - request.left()
        least = math.ceil((used + error.least_seconds) / (1 - MARGIN) / 5) * 5
        raise ConfigError(
            f"--budget: should be at least {exact_duration(least)}, which the shortest run takes on this machine, "
            f"found {exact_duration(request.seconds)}"
        ) from error


def stage_seconds(context: RunContext, recipe: AnyRecipe) -> tuple[dict[str, float], list[str]]:
    """Returns the time that each stage of a run has taken so far, and the stages that are complete.

    A stage of another recipe, and the stages after it, are left out: they are made again.
    """
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
