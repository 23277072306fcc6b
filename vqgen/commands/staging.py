"""The commands that work on a run: from the words of the command line to the run folder and its processes."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_run_arguments
from vqgen.commands.more_steps import add_more_steps_argument, give_more_steps
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.config import AnyRecipe
    from vqgen.stages.context import RunContext

_AddArguments = Callable[[argparse.ArgumentParser], None]

_Run = Callable[[argparse.Namespace], int]

_TRAINED = ("vqvae", "autoencoder", "classifier")
"""Stages of their own command that train a model."""


def stage_command(stage: str) -> tuple[_AddArguments, _Run]:
    """Returns the `add_arguments` and `run` of a command that runs one stage.

    Args:
        stage: Name of the stage, as in `vqgen.stages.run`.
    """

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""
        add_run_arguments(parser)
        if stage in _TRAINED:
            add_more_steps_argument(parser)

    def run(arguments: argparse.Namespace) -> int:
        """Runs the command."""

        def act(context: "RunContext") -> None:
            from vqgen.stages.run import run_stages

            run_stages(context, [stage])

        return work_on_run(arguments, act, stages=lambda recipe: [stage])

    return add_arguments, run


def resolve_recipe(arguments: argparse.Namespace, *, needs_images: bool = True) -> "tuple[AnyRecipe, list[str]]":
    """Reads the recipe, overrides its fields and checks it.

    Args:
        arguments: The parsed words, with `recipe` and `overrides`.
        needs_images: True if the recipe has to name the folder of the images.

    Returns:
        The recipe, and the warnings of `check_recipe`.

    Raises:
        ConfigError: There is no such recipe, or it is wrong.
    """
    from vqgen.config import check_recipe, find_recipe, read_recipe
    from vqgen.config.overrides import apply_overrides

    recipe = apply_overrides(read_recipe(find_recipe(arguments.recipe)), arguments.overrides)
    return recipe, check_recipe(recipe, needs_images=needs_images)


def run_folder(arguments: argparse.Namespace, recipe: "AnyRecipe") -> Path:
    """Returns the folder of the run.

    Raises:
        ConfigError: --run-name is not the name of a folder.
    """
    name = recipe.name if arguments.run_name is None else arguments.run_name
    # One folder below --checkpoints: a name such as ../x would lead out of it.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(
            f"--run-name: should be letters, digits, '.', '_' and '-', beginning with a letter or digit; found {name!r}"
        )
    return Path(arguments.checkpoints) / name


def work_on_run(
    arguments: argparse.Namespace,
    act: "Callable[[RunContext], None]",
    prepare: "Callable[[RunContext], RunContext] | None" = None,
    stages: "Callable[[AnyRecipe], Sequence[str]] | None" = None,
) -> int:
    """Prepares a run, and calls `act` while the run folder is locked.

    Args:
        arguments: The parsed words of `add_run_arguments`. --fields only lists the fields of the recipe, and --dry-run
            only prints the plan.
        act: The work on the run.
        prepare: Returns the run with another recipe, or refuses it, before anything is changed; None changes nothing.
        stages: Recipe -> the stages that the command works on; None for all of the recipe.

    Returns:
        The exit code.

    Raises:
        VQGenError: The recipe, the machine or the run folder does not allow the work.
    """
    if arguments.fields:
        return _print_fields(arguments)
    from vqgen.config import check_recipe

    recipe, recipe_warnings = resolve_recipe(arguments)
    own_stages = None if stages is None else stages(recipe)
    context = give_more_steps(_open_run(arguments, recipe), arguments, own_stages)
    if prepare is not None:
        context = prepare(context)
        recipe_warnings = check_recipe(context.recipe)
    start = _check_start(context, own_stages)
    for text in recipe_warnings:
        context.warn(text)
    context.say("\n".join([describe(context.recipe, context.folder), *start]))
    if arguments.dry_run:
        _print_plan(context)
        return 0

    from vqgen.stages.run import run_locked

    with context.tracked():
        run_locked(context, act)
    return 0


def _check_start(context: "RunContext", stages: "Sequence[str] | None") -> list[str]:
    """Refuses a wrong --init-from, and returns lines that tell what begins with its weights."""
    from vqgen.stages.warm_start_check import check_warm_start

    return context.on_main(lambda: check_warm_start(context, stages or context.recipe.stage_names))


def _open_run(arguments: argparse.Namespace, recipe: "AnyRecipe") -> "RunContext":
    """Starts the processes of a run.

    Raises:
        ConfigError: The run folder, the device or the dtype is wrong, or the processes do not meet.
    """
    from vqgen.config import find_recipe
    from vqgen.config.loading import with_behaviour_of_run

    folder = run_folder(arguments, recipe)
    recipe = with_behaviour_of_run(recipe, find_recipe(arguments.recipe), arguments.overrides, folder)

    # These import torch, which takes seconds. A wrong recipe has been refused before.
    from vqgen.runtime.compute import Compute
    from vqgen.runtime.processes import make_accelerator
    from vqgen.stages.context import RunContext, tracker_of

    compute = Compute.resolve(arguments.device, arguments.dtype)
    if compute.device.index is not None:
        raise ConfigError(
            f"device: should be auto, cpu, cuda or mps when training, found '{compute.device}'; "
            f"choose a GPU with CUDA_VISIBLE_DEVICES={compute.device.index}"
        )
    return RunContext(
        recipe,
        folder,
        compute,
        make_accelerator(compute, folder, tracker=tracker_of(recipe)),
        force=arguments.force,
        redo=arguments.redo,
        quiet=arguments.quiet,
        parallel_stages=getattr(arguments, "parallel_stages", 1),  # the command of one stage has no such option
    )


def describe(recipe: "AnyRecipe", folder: Path) -> str:
    """Returns the resolved recipe in a few lines: run folder, data, models, classifier, samples."""
    data = recipe.data
    place = f" in {data.root}" if data.root else ""
    colour = "grey" if data.channels == 1 else "RGB"
    lines = [
        f"{recipe.name} -> {folder} (seed {recipe.seed})",
        f"  data     {data.source}{place}, {data.image_size} x {data.image_size}, {colour}",
        *recipe.summary(),
    ]
    if recipe.classifier is not None:
        lines.append(f"  classifier  {recipe.classifier.summary()}")
    return "\n".join([*lines, f"  samples  {recipe.generate.images_per_label} per label"])


def _print_plan(context: "RunContext") -> None:
    """Prints the state of each stage and the estimated cost of the run."""
    from vqgen.planning.build import build_planner
    from vqgen.planning.text import plan_text
    from vqgen.stages.records import measured_rates
    from vqgen.stages.run import planned_schedules
    from vqgen.stages.states import shares_to_do, stage_states

    for stage, state in stage_states(context).items():
        context.say(f"  {stage:<16} {state}")
    for schedule in planned_schedules(context, context.recipe.stage_names):
        context.say(f"  {'side by side':<16} {schedule.text}")
    if context.is_main:  # the planner measures the machine, which one process should do alone
        planner = build_planner(context.recipe, context.compute, measured_rates(context.recipe, context.folder))
        context.say(plan_text(planner, planner.stages(), shares_to_do(context)))


def _print_fields(arguments: argparse.Namespace) -> int:
    from vqgen.config import find_recipe, read_recipe
    from vqgen.config.overrides import override_help

    print(override_help(read_recipe(find_recipe(arguments.recipe))))
    return 0
