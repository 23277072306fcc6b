"""The planner that belongs to a recipe."""

from collections.abc import Mapping
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


def build_planner(
    recipe: AnyRecipe, compute: Compute, measured_bpp: Mapping[str, float], *, measure: bool = True
) -> RecipePlanner[Any]:
    """Builds the planner of a recipe: counts its images and measures the device, which takes about a second.

    Args:
        recipe: The recipe.
        compute: Device and dtype of the run.
        measured_bpp: Level -> bits per pixel, as the complete priors of the run measured them; see `measured_rates`.
        measure: True measures the device; False estimates no times.

    Raises:
        DataError: The folder of images is ambiguous or holds none.
    """
    machine = measure_machine(compute.device, getattr(torch, compute.dtype)) if measure else None
    return _PLANNERS[type(recipe)](recipe, compute, count_images(recipe.data), machine, measured_bpp)
