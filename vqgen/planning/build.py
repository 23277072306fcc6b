"""Builds the planner of a recipe."""

from pathlib import Path
from typing import Any

import torch

from vqgen.config import AnyRecipe, BaselineRecipe, Recipe
from vqgen.data import count_images
from vqgen.planning.baseline_planner import BaselinePlanner
from vqgen.planning.planner import Planner
from vqgen.planning.plans import RecipePlanner
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import measure_machine

_PLANNERS: dict[type[AnyRecipe], type[RecipePlanner[Any]]] = {Recipe: Planner, BaselineRecipe: BaselinePlanner}


def build_planner(recipe: AnyRecipe, folder: Path, compute: Compute, *, measure: bool = True) -> RecipePlanner[Any]:
    """Counts the images of a recipe and measures the device, which takes about a second.

    Args:
        recipe: The recipe.
        folder: The run folder, whose complete stages have measured their rates.
        compute: Device and dtype of the run.
        measure: Measure the device; without it no times are estimated.

    Raises:
        DataError: The folder of images is ambiguous or holds none.
    """
    machine = measure_machine(compute.device, getattr(torch, compute.dtype)) if measure else None
    return _PLANNERS[type(recipe)](recipe, folder, compute, count_images(recipe.data), machine)
