from collections.abc import Callable
from typing import Any

import pytest

from vqgen.config import Recipe
from vqgen.data import ImageCounts
from vqgen.planning.planner import Planner
from vqgen.planning.plans import StagePlan
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine

COUNTS = ImageCounts(train=90, validation=10, test=20, classes=10)
MACHINE = Machine(matmul_flops=1e9, convolution_flops=2e9, bandwidth=1e9)


@pytest.fixture
def counts() -> ImageCounts:
    """The number of images in the plans of `plan`."""
    return COUNTS


@pytest.fixture
def machine() -> Machine:
    """The device of the plans of `plan`."""
    return MACHINE


@pytest.fixture
def make_planner(tiny_recipe: Callable[..., Recipe]) -> Callable[..., Planner]:
    """Builds the planner of the tiny recipe. Given sections replace single keys."""

    def build(
        counts: ImageCounts | None = COUNTS,
        machine: Machine | None = MACHINE,
        dtype: str = "float32",
        measured_bpp: dict[str, float] | None = None,
        **changes: Any,
    ) -> Planner:
        return Planner(tiny_recipe(**changes), Compute.resolve("cpu", dtype), counts, machine, measured_bpp or {})

    return build


@pytest.fixture
def plan(make_planner: Callable[..., Planner]) -> Callable[..., dict[str, StagePlan]]:
    """Plans the tiny recipe: stage -> plan. It takes the arguments of `make_planner`."""
    return lambda *arguments, **changes: {stage.stage: stage for stage in make_planner(*arguments, **changes).stages()}
