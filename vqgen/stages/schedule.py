"""The stages that run side by side: those that need nothing of each other, as many as cores, GPUs and memory allow.

vqvae --> codes --> prior-top     --> samples
                    prior-bottom
                    classifier

The classifier comes first, alone, if a loss of the generator compares its features.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from vqgen.config import AnyRecipe, Recipe
from vqgen.data import ImageCounts
from vqgen.errors import ConfigError
from vqgen.planning.budget_times import LEAST_GAIN
from vqgen.planning.build import build_planner
from vqgen.planning.plans import StagePlan
from vqgen.planning.threads import stage_threads
from vqgen.runtime.children import Needs, Room
from vqgen.runtime.compute import Compute
from vqgen.runtime.cores import available_cores
from vqgen.runtime.machine import Machine
from vqgen.stages.context import RunContext

_PROCESS_BYTES = 760_000_000
"""Memory of a process for a stage whose models need next to nothing, plots included: the largest resident memory that
was measured. 560 MB of it are there after the imports."""

_MEMORY_FACTOR = 1.3
"""Memory of a training step, as measured, over the planned bytes: operators need temporary tensors, too."""

_NAME_BYTES = 120
"""Memory of the name of an image or of its codes: a short Python string, and its place in a tuple."""

_USUAL_CORE = Machine(matmul_flops=5e10, convolution_flops=5e10, bandwidth=1e10)
"""Speeds of one core of a usual processor. Only the order of the stages and the use of short ones depend on them, so
measuring the machine would not be worth a second."""

_NEEDS = {"vqvae": (), "autoencoder": (), "classifier": (), "codes": ("vqvae",)}
"""Stage -> the stages that it is made from. The priors and the samples are not listed."""


def stage_groups(recipe: AnyRecipe, stages: Sequence[str]) -> list[list[str]]:
    """Splits stages of a run, in their order, into groups whose stages need nothing of each other."""
    groups: list[list[str]] = []
    for stage in stages:
        if groups and not set(groups[-1]) & _needed(recipe, stage):
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def _needed(recipe: AnyRecipe, stage: str) -> set[str]:
    """Returns the stages that must be complete before a stage begins."""
    if stage == "samples":
        return set(recipe.stage_names) - {stage}  # its pipeline has all models of the run
    if stage == recipe.generator_stages[0] and recipe.losses.uses_own_classifier:
        return {"classifier"}
    return {"vqvae", "codes"} if stage.startswith("prior-") else set(_NEEDS[stage])


@dataclass(frozen=True)
class PlannedStage:
    """A stage in a process of its own.

    Attributes:
        stage: Name of the stage.
        needs: The part of the machine that it takes.
        seconds: Time on one usual core; None if it is not known.
    """

    stage: str
    needs: Needs
    seconds: float | None


@dataclass(frozen=True)
class Schedule:
    """The stages of a group that are still to do, and the room for them.

    Attributes:
        stages: The stages, longest first: the last one to end then begins as early as possible.
        room: Their room.
    """

    stages: tuple[PlannedStage, ...]
    room: Room

    @property
    def at_once(self) -> int:
        """The largest number of these stages that fit at the same time; 1 if no two do, and without stages."""
        counts = range(2, len(self.stages) + 1)
        needs = [stage.needs for stage in self.stages]
        return max((count for count in counts if any(map(self.room.fits, combinations(needs, count)))), default=1)

    @property
    def text(self) -> str:
        """The stages and their number at a time, in words."""
        return f"{', '.join(stage.stage for stage in self.stages)}; at most {self.at_once} at a time"


def make_schedule(context: RunContext, stages: Sequence[str]) -> Schedule:
    """Makes the schedule of stages that need nothing of each other.

    Args:
        context: The run. Without `context.parallel_stages`, the number of stages at a time follows from cores and
            memory, and short stages are not worth a process.
        stages: The stages that are still to do.
    """
    wanted = context.parallel_stages
    cores = available_cores()
    planned = _plan(context, stages, cores)
    places = tuple({"CUDA_VISIBLE_DEVICES": name} for name in visible_gpus()) if context.device.type == "cuda" else ()
    allowed = _most_here(context, len(places))
    most = min(allowed, wanted or allowed)
    if wanted is None and not _is_worth_it(planned):
        most = 1
    # A given number is taken as it is, whatever the cores. On GPUs the cores have little to do.
    limit = cores if wanted is None and context.device.type == "cpu" else None
    return Schedule(planned, Room(most, limit, free_host_memory(), places))


def check_parallel_stages(context: RunContext, stages: Sequence[str]) -> None:
    """Refuses a number of parallel stages that this launch, the devices or the memory do not allow.

    Args:
        context: The run.
        stages: The stages of a group that are still to do.

    Raises:
        ConfigError: The number is too large. The message says how many fit.
    """
    wanted = min(context.parallel_stages or 1, len(stages))
    if wanted <= 1:
        return
    schedule = make_schedule(context, stages)
    if schedule.room.most < wanted:
        raise ConfigError(
            f"--parallel-stages: should be auto or at most {schedule.room.most} {_reason(context)}, "
            f"found {context.parallel_stages}"
        )
    # The largest ones may come together, because a stage starts as soon as there is a place.
    sizes = sorted((stage.needs.memory for stage in schedule.stages), reverse=True)
    free = schedule.room.memory or 0
    fitting = max((count for count in range(1, wanted + 1) if sum(sizes[:count]) <= free), default=1)
    if fitting < wanted:
        raise ConfigError(
            f"--parallel-stages: should be auto or at most {fitting} with {free / 1e9:.1f} GB of free memory, found "
            f"{context.parallel_stages}: {wanted} of these stages may take {sum(sizes[:wanted]) / 1e9:.1f} GB"
        )


def visible_gpus() -> tuple[str, ...]:
    """Returns the values of CUDA_VISIBLE_DEVICES that each show one of the GPUs of this process."""
    count = torch.cuda.device_count()
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    # Without the variable all GPUs are visible, under their numbers.
    return tuple(names[:count] if "CUDA_VISIBLE_DEVICES" in os.environ else map(str, range(count)))


def free_host_memory() -> int:
    """Returns the free bytes of the machine's own memory."""
    return Compute(torch.device("cpu")).free_memory


def _most_here(context: RunContext, gpus: int) -> int:
    """Returns the largest number of stages at a time, without regard to cores and memory."""
    if context.is_launched:
        return 1
    return {"cpu": len(context.recipe.stage_names), "cuda": max(1, gpus)}.get(context.device.type, 1)


def _reason(context: RunContext) -> str:
    if context.is_launched:
        return "in processes of a launcher, which share each stage"
    return (
        f"with {len(visible_gpus())} GPU(s), one for each stage" if context.device.type == "cuda" else "on one device"
    )


def _is_worth_it(stages: Sequence[PlannedStage]) -> bool:
    """Returns True if processes of their own save enough time: at best, that of all stages but the longest."""
    seconds = [stage.seconds for stage in stages if stage.seconds is not None]
    is_unknown = len(seconds) < len(stages)
    return is_unknown or sum(seconds) - max(seconds, default=0.0) >= LEAST_GAIN


def _plan(context: RunContext, stages: Sequence[str], cores: int) -> tuple[PlannedStage, ...]:
    planner = build_planner(context.recipe, context.compute, {}, measure=False)
    planned = [
        PlannedStage(
            plan.stage,
            Needs(_cores_of(context, plan.stage, cores), _memory_of(context, plan, planner.counts)),
            plan.seconds,
        )
        for plan in replace(planner, machine=_USUAL_CORE).stages()
        if plan.stage in stages
    ]
    return tuple(sorted(planned, key=lambda stage: -math.inf if stage.seconds is None else -stage.seconds))


def _cores_of(context: RunContext, stage: str, cores: int) -> int:
    """Returns the cores that a stage keeps busy, one for each thread."""
    return min(cores, stage_threads(context.recipe, stage)) if context.device.type == "cpu" else 1


def _memory_of(context: RunContext, plan: StagePlan, counts: ImageCounts | None) -> int:
    """Returns the bytes of the machine's memory that a stage takes in a process of its own."""
    training = math.ceil(_MEMORY_FACTOR * (plan.training_bytes or 0)) if context.device.type == "cpu" else 0
    data = 0 if counts is None else _data_bytes(context.recipe, plan.stage, counts)
    return _PROCESS_BYTES + training + data


def _data_bytes(recipe: AnyRecipe, stage: str, counts: ImageCounts) -> int:
    """Returns the bytes of the data that a stage holds: images, as they are and transformed, or all codes."""
    if not stage.startswith("prior-"):
        pixels = counts.total * recipe.data.channels * recipe.data.image_size**2
        return 2 * pixels + counts.total * _NAME_BYTES
    assert isinstance(recipe, Recipe)
    codes = sum(recipe.grid_side(level) ** 2 for level in recipe.levels)
    code_bytes = 1 if recipe.vqvae.codebook_size <= 256 else 2
    images = counts.total + recipe.data.num_copies * counts.train
    return images * (codes * code_bytes + _NAME_BYTES)
