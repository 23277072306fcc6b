"""`vqgen plan`: estimate the cost of a run: FLOPs, memory, bits per pixel, time."""

import argparse
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_device_arguments, add_overwrite_argument, add_recipe_arguments
from vqgen.commands.budget import add_budget_argument, budget_request
from vqgen.commands.more_steps import NOT_WITH_BUDGET, add_more_steps_argument, give_more_steps
from vqgen.commands.outputs import check_files
from vqgen.errors import ConfigError, VQGenWarning

if TYPE_CHECKING:
    from vqgen.config import AnyRecipe
    from vqgen.planning.plans import RecipePlanner, StagePlan
    from vqgen.runtime.compute import Compute

TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "--no-measure", action="store_true", help="do not measure the device; the plan then has no times"
    )
    parser.add_argument("--json", metavar="FILE", help="write the plan to this file too")
    add_overwrite_argument(parser)
    add_budget_argument(parser)
    add_more_steps_argument(parser)
    add_device_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.staging import describe, resolve_recipe, run_folder
    from vqgen.config import check_recipe
    from vqgen.planning.build import build_planner
    from vqgen.planning.text import plan_text
    from vqgen.stages.records import measured_rates

    begin = time.perf_counter()
    check_files([arguments.json], arguments.overwrite)
    recipe, recipe_warnings = resolve_recipe(arguments, needs_images=arguments.budget is not None)
    folder = run_folder(arguments, recipe)

    from vqgen.runtime.compute import Compute

    compute = Compute.resolve(arguments.device, arguments.dtype)
    if arguments.budget is not None and arguments.more_steps:
        raise ConfigError(f"--more-steps: {NOT_WITH_BUDGET}")
    if arguments.budget is not None:
        recipe = _within_budget(arguments, compute, begin)
        recipe_warnings = check_recipe(recipe)
    for text in recipe_warnings:
        warnings.warn(text, VQGenWarning, stacklevel=2)
    recipe, shares = _with_more_steps(arguments, recipe, compute, folder)
    print(describe(recipe, folder), flush=True)
    planner = build_planner(recipe, compute, measured_rates(recipe, folder), measure=not arguments.no_measure)
    stages = planner.stages()
    print(plan_text(planner, stages, shares))
    if arguments.json:
        _write_json(Path(arguments.json), planner, stages)
    return 0


def _with_more_steps(
    arguments: argparse.Namespace, recipe: "AnyRecipe", compute: "Compute", folder: Path
) -> "tuple[AnyRecipe, dict[str, float] | None]":
    """Returns the recipe with the steps that the run has by now, and of a request for more the shares of work left."""
    if not arguments.more_steps:
        from vqgen.stages.more_steps import adopted_recipe

        return adopted_recipe(recipe, folder, recipe.stage_names), None
    from vqgen.runtime.processes import make_accelerator
    from vqgen.stages.context import RunContext
    from vqgen.stages.states import shares_to_do

    run = give_more_steps(RunContext(recipe, folder, compute, make_accelerator(compute, folder)), arguments)
    return run.recipe, shares_to_do(run)


def _within_budget(arguments: argparse.Namespace, compute: "Compute", begin: float) -> "AnyRecipe":
    """Chooses the recipe for the budget, and prints the reasons.

    Raises:
        ConfigError: --no-measure is given too, or the budget is too short.
    """
    from vqgen.planning.budget_text import choice_lines
    from vqgen.stages.budgeted_run import choose_for, places_of

    if arguments.no_measure:
        raise ConfigError("--no-measure: should be left out with --budget, which chooses by the speed of the device")
    choice, pictures = choose_for(budget_request(arguments, begin), compute, places=places_of(compute))
    print("\n".join(choice_lines(arguments.budget, choice, pictures)), flush=True)
    return choice.recipe


def _write_json(target: Path, planner: "RecipePlanner", stages: "list[StagePlan]") -> None:
    from vqgen.storage.files import write_json

    document = {
        "recipe": planner.recipe.model_dump(mode="json"),
        "device": str(planner.compute.device),
        "dtype": planner.compute.dtype,
        "images": asdict(planner.counts) if planner.counts else None,
        "machine": asdict(planner.machine) if planner.machine else None,
        "stages": [asdict(stage) for stage in stages],
    }
    write_json(target, document)
