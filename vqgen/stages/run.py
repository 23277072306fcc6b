"""The whole run: every stage in order, or side by side. A complete stage is skipped, and a cut stage goes on."""

from collections.abc import Callable, Sequence

from vqgen.stages.bookkeeping import check_unchanged, is_up_to_date, locked
from vqgen.stages.context import RunContext
from vqgen.stages.losses import check_losses
from vqgen.stages.more_steps import close_requests
from vqgen.stages.report.after_stage import report_run
from vqgen.stages.runners import run_one
from vqgen.stages.schedule import Schedule, check_parallel_stages, make_schedule, stage_groups
from vqgen.stages.side_by_side import run_side_by_side
from vqgen.stages.states import COMPLETE, stage_states
from vqgen.storage.files import remove_leftovers
from vqgen.storage.folder_lock import clear_part_locks


def run_locked(context: RunContext, act: Callable[[RunContext], object]) -> None:
    """Runs `act` while the run folder is locked.

    Before, the recipe is compared with the stages in the folder, and temporary files of killed processes are removed.

    Args:
        context: The run.
        act: Runs one stage or all.

    Raises:
        CheckpointError: Another launch holds the folder, or a stage has another recipe and `context.redo` is not set.
    """
    with locked(context):
        context.on_main(lambda: _prepare_folder(context))
        act(context)


def run_all(context: RunContext) -> None:
    """Runs every stage of the recipe; raises as `run_stages`."""
    run_stages(context, context.recipe.stage_names)


def run_stages(context: RunContext, stages: Sequence[str]) -> None:
    """Runs some stages of the recipe. Those that need nothing of each other run side by side, if there is room.

    Args:
        context: The run.
        stages: Names of the stages, in the order of the run.

    Raises:
        ConfigError: `context.parallel_stages` is larger than the memory or the launch allows. No stage has begun.
    """
    groups = stage_groups(context.recipe, stages)
    context.on_main(lambda: [check_parallel_stages(context, stages_to_do(context, group)) for group in groups])
    if context.first_stage in stages[1:]:  # a stage that comes before it would train in vain
        context.on_main(lambda: stages_to_do(context, [context.first_stage]) and check_losses(context))
    for group in groups:
        _run_group(context, group)
    context.on_main(lambda: close_requests(context.folder, stages))
    report_run(context)


def _run_group(context: RunContext, stages: Sequence[str]) -> None:
    """Runs stages that need nothing of each other."""
    alone = list(stages)
    if len(stages) > 1 and not context.is_launched and context.parallel_stages != 1:
        to_do = [stage for stage in stages if not is_up_to_date(context, stage)]
        # A single stage needs no schedule, which counts the images: a large folder takes seconds.
        schedule = make_schedule(context, to_do) if len(to_do) > 1 else None
        if schedule is not None and schedule.at_once > 1:
            run_side_by_side(context, schedule)
            alone = [stage for stage in stages if stage not in to_do]  # each tells that it is complete
    for stage in alone:
        run_one(context, stage)


def planned_schedules(context: RunContext, stages: Sequence[str]) -> list[Schedule]:
    """Returns the schedules of the stages that would run side by side, as far as the recipe tells; nothing is changed.

    Raises:
        ConfigError: As in `run_stages`.
    """
    schedules = []
    for group in stage_groups(context.recipe, stages):
        to_do = stages_to_do(context, group)
        check_parallel_stages(context, to_do)
        schedules.append(make_schedule(context, to_do))
    return [schedule for schedule in schedules if schedule.at_once > 1]


def stages_to_do(context: RunContext, stages: Sequence[str]) -> list[str]:
    """Selects the stages that `vqgen run` would not skip, as far as the recipe tells."""
    states = stage_states(context)
    return [stage for stage in stages if states.get(stage) != COMPLETE]


def _prepare_folder(context: RunContext) -> None:
    # The check comes first: a run that is refused leaves the folder as it was.
    check_unchanged(context, context.recipe.stage_names)
    clear_part_locks(context.folder)
    remove_leftovers(context.folder)
