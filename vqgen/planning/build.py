"""The planner that belongs to a recipe."""

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
"""Kind of recipe -> its planner."""


def build_planner(recipe: AnyRecipe, folder: Path, compute: Compute, *, measure: bool = True) -> RecipePlanner[Any]:
    """Builds the planner of a recipe: counts its images and measures the device, which takes about a second.

    Args:
        recipe: The recipe.
        folder: The run folder. Its complete stages have measured their rates.
        compute: Device and dtype of the run.
        measure: True measures the device; False estimates no times.

    Raises:
        DataError: The folder of images is ambiguous or holds none.
    """
    machine = measure_machine(compute.device, getattr(torch, compute.dtype)) if measure else None
    return _PLANNERS[type(recipe)](recipe, folder, compute, count_images(recipe.data), machine)
