"""From the words of a command line to a run, for the commands that work on one."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_run_arguments
from vqgen.errors import ConfigError

_AddArguments = Callable[[argparse.ArgumentParser], None]

_Run = Callable[[argparse.Namespace], int]

if TYPE_CHECKING:
    from vqgen.config import AnyRecipe, BaselineRecipe, Recipe
    from vqgen.stages.context import RunContext


def stage_command(act: "Callable[[RunContext], None]") -> tuple[_AddArguments, _Run]:
    """The `add_arguments` and `run` of a command that does one thing with a run and asks for nothing more."""

    def run(arguments: argparse.Namespace) -> int:
        return work_on_run(arguments, act)

    return add_run_arguments, run


def resolve_recipe(arguments: argparse.Namespace, *, needs_images: bool = True) -> "tuple[AnyRecipe, list[str]]":
    """The recipe with its overrides, checked across sections, and the checks' warnings."""
    from vqgen.config import check_recipe, find_recipe, read_recipe
    from vqgen.config.overrides import apply_overrides

    recipe = apply_overrides(read_recipe(find_recipe(arguments.recipe)), arguments.overrides)
    return recipe, check_recipe(recipe, needs_images=needs_images)


def run_folder(arguments: argparse.Namespace, recipe: "AnyRecipe") -> Path:
    """The folder of the run.

    Raises:
        ConfigError: --run-name is no name of a folder.
    """
    name = recipe.name if arguments.run_name is None else arguments.run_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"--run-name: should be letters, digits, '.', '_' and '-', found {name!r}")
    return Path(arguments.checkpoints) / name


def work_on_run(arguments: argparse.Namespace, act: "Callable[[RunContext], None]") -> int:
    """Does what every command on a run does around `act`: recipe, folder, processes, lock."""
    if arguments.fields:
        return _print_fields(arguments)
    recipe, recipe_warnings = resolve_recipe(arguments)
    folder = run_folder(arguments, recipe)

    from vqgen.runtime.compute import Compute
    from vqgen.runtime.processes import make_accelerator
    from vqgen.stages.context import RunContext
    from vqgen.stages.run import run_locked

    compute = Compute.resolve(arguments.device, arguments.dtype)
    if compute.device.index is not None:
        raise ConfigError(
            f"device: should be auto, cpu, cuda or mps when training, found '{compute.device}'; "
            f"choose a GPU with CUDA_VISIBLE_DEVICES={compute.device.index}"
        )
    trackers = {train.tracker for train in recipe.trainings} - {"none"}
    accelerator = make_accelerator(compute, folder, tracker=next(iter(trackers), "none"))
    context = RunContext(
        recipe, folder, compute, accelerator, force=arguments.force, redo=arguments.redo, quiet=arguments.quiet
    )
    for text in recipe_warnings:
        context.warn(text)
    context.say(describe(recipe, folder))
    if arguments.dry_run:
        _print_plan(context)
        return 0
    if trackers:
        accelerator.init_trackers(recipe.name)
    try:
        run_locked(context, act)
    finally:
        accelerator.end_training()
    return 0


def describe(recipe: "AnyRecipe", folder: Path) -> str:
    """The resolved recipe in short."""
    from vqgen.config import BaselineRecipe

    data = recipe.data
    where = f" in {data.root}" if data.root else ""
    colour = "grey" if data.channels == 1 else "RGB"
    lines = [
        f"{recipe.name} -> {folder} (seed {recipe.seed})",
        f"  data     {data.source}{where}, {data.image_size} x {data.image_size}, {colour}",
    ]
    lines += _describe_baseline(recipe) if isinstance(recipe, BaselineRecipe) else _describe_levels(recipe)
    if recipe.classifier is not None:
        section, train = recipe.classifier, recipe.classifier.train
        size = f"{section.channels} channels" if section.kind == "residual" else f"{section.hidden} hidden units"
        lines.append(f"  classifier  {size}, {_length(train)} at batch {train.batch_size}")
    return "\n".join([*lines, f"  samples  {recipe.generate.images_per_label} per label"])


def _describe_baseline(recipe: "BaselineRecipe") -> list[str]:
    section = recipe.autoencoder
    labels = ", told the label" if section.labels == "conditional" else ""
    return [
        f"  {section.kind}  {section.latent_size} latents, {section.channels} channels{labels}, "
        f"{_length(section.train)} at batch {section.train.batch_size}"
    ]


def _describe_levels(recipe: "Recipe") -> list[str]:
    from vqgen.order import CausalOrder

    vqvae = recipe.vqvae
    lines = [
        f"  vqvae    {vqvae.codebook_size} codes of {vqvae.embedding_dim} dimensions, {vqvae.channels} channels, "
        f"{_length(vqvae.train)} at batch {vqvae.train.batch_size}",
    ]
    for level, prior in zip(recipe.levels, recipe.priors, strict=True):
        side = recipe.grid_side(level)
        lines.append(
            f"  {level:<8} {side} x {side} codes in {CausalOrder(side, side, prior.slope).num_steps} steps "
            f"(slope {prior.slope}), {prior.layers} layers of {prior.channels} channels, "
            f"{_length(prior.train)} at batch {prior.train.batch_size}"
        )
    return lines


def _length(train: object) -> str:
    epochs, steps = getattr(train, "epochs", None), getattr(train, "steps", None)
    return f"{epochs:g} epochs" if epochs is not None else f"{steps} steps"


def _print_plan(context: "RunContext") -> None:
    from vqgen.planning.build import build_planner
    from vqgen.planning.text import plan_text
    from vqgen.stages.run import stage_states

    for stage, state in stage_states(context).items():
        context.say(f"  {stage:<16} {state}")
    if context.is_main:
        planner = build_planner(context.recipe, context.folder, context.compute)
        context.say(plan_text(planner, planner.stages()))


def _print_fields(arguments: argparse.Namespace) -> int:
    from vqgen.config import find_recipe, read_recipe
    from vqgen.config.overrides import override_help

    print(override_help(read_recipe(find_recipe(arguments.recipe))))
    return 0
