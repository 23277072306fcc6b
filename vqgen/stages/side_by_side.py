"""Stages side by side, each in a process of its own, with the results that they have one after the other.

A stage draws its random numbers from its own seeds, and its threads do not depend on the stages beside it. So the only
thing that the processes have to agree on is `pipeline/`, which each stage writes when it completes: one at a time.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch

from vqgen.data import ImageSplits
from vqgen.runtime.children import Job, run_jobs
from vqgen.runtime.processes import make_accelerator
from vqgen.stages.context import RunContext, tracker_of
from vqgen.stages.runners import run_one
from vqgen.stages.schedule import Schedule
from vqgen.storage.folder_lock import clear_part_locks, part_lock

_OF_ONE_PROCESS = {"accelerator", "completing"}
"""Fields of the context of a run that each process makes for itself."""

_REMEDY = (
    "no saved work is lost: run the same command again to go on, "
    "with --parallel-stages 1 to run one stage after the other"
)


@dataclass(frozen=True)
class StageRequest:
    """A stage for another process to run.

    Attributes:
        stage: Name of the stage.
        settings: The fields of the context of the run, without those of one process.
        images: The images, if the stage reads them. To open them again could take minutes for a folder of pictures,
            would repeat the warnings, and might find other files.
        threads: Threads of torch, as in the process that asks.
    """

    stage: str
    settings: dict[str, Any]
    images: ImageSplits | None
    threads: int


def run_side_by_side(context: RunContext, schedule: Schedule) -> None:
    """Runs the stages of a schedule in processes of their own, and waits for all of them.

    Args:
        context: The run. This process holds the lock of its folder.
        schedule: The stages, and the room for them.

    Raises:
        Interrupted: A signal came, and all stages have saved their work.
        VQGenError: The first error of a stage, or the crash of a process. The other stages have saved their work.
    """
    context.say(f"side by side: {schedule.text}")
    if context.device.type == "cuda":
        torch.cuda.empty_cache()  # this process keeps memory of earlier stages, which the stage on its GPU may need
    jobs = [Job(each.stage, run_requested, (_request(context, each.stage),), each.needs) for each in schedule.stages]
    try:
        run_jobs(jobs, schedule.room, remedy=_REMEDY)
    finally:
        clear_part_locks(context.folder)


def run_requested(request: StageRequest) -> None:
    """Runs a stage in this process, which has been started for it."""
    torch.set_num_threads(request.threads)
    settings = request.settings
    folder = settings["folder"]
    tracker = tracker_of(settings["recipe"])
    context = RunContext(
        **settings,
        accelerator=make_accelerator(settings["compute"], folder, tracker=tracker),
        completing=lambda: part_lock(folder, "completion"),
    )
    if request.images is not None:
        context.images = request.images
    # After a kill of the process that asked, the next start waits for this lock, so that no two processes run a stage.
    with part_lock(folder, request.stage), context.tracked(request.stage):
        run_one(context, request.stage)


def _request(context: RunContext, stage: str) -> StageRequest:
    settings = {each.name: getattr(context, each.name) for each in fields(context) if each.name not in _OF_ONE_PROCESS}
    images = None if stage.startswith("prior-") else context.images
    return StageRequest(stage, settings, images, torch.get_num_threads())
