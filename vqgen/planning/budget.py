"""A budget of time for a run: the choice of its recipe on this machine, and the record of the choice in the run folder.

recipe, pictures --> candidates --> measured times --> BudgetChoice --> BudgetRecord (budget.json) --> limits of time
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vqgen.config import AnyRecipe, stage_fields
from vqgen.config.loading import validate_recipe
from vqgen.data import ImageCounts
from vqgen.errors import CheckpointError
from vqgen.planning.budget_choice import BudgetChoice, Chooser
from vqgen.planning.budget_meter import LONGEST, Meter
from vqgen.planning.budget_pictures import Pictures, sample_pictures
from vqgen.planning.budget_rates import estimate_rates
from vqgen.planning.budget_tiers import Candidate, Keep, candidates
from vqgen.planning.budget_times import ONE_BY_ONE, Places, StageTime
from vqgen.planning.build import build_planner
from vqgen.planning.plans import RecipePlanner
from vqgen.planning.text import scaled
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine, measure_machine
from vqgen.storage.documents import check_format, read_json
from vqgen.storage.files import write_json

FILE = "budget.json"
"""File of the record in the run folder."""

_MEASURING_SHARE = 0.002
"""Share of the time that one measurement takes, at most. A candidate has about seven."""

_SHORTEST = 0.05
"""Seconds of a measurement, at least."""


@dataclass(frozen=True)
class BudgetRecord:
    """The content of budget.json: a choice, and the time of the sessions since then.

    Attributes:
        request: The budget, the recipe before the choice and the number of pictures. A choice holds for one request.
        recipe: The document of the chosen recipe.
        times: The planned times of the parts of the run.
        reasons: The choice in words, line by line.
        sessions: Seconds of each finished session.
    """

    # The names of these fields are keys of budget.json.
    request: dict[str, Any]
    recipe: dict[str, Any]
    times: tuple[StageTime, ...]
    reasons: list[str]
    sessions: list[float] = field(default_factory=list)

    @property
    def chosen(self) -> AnyRecipe:
        """The chosen recipe, without limits of time."""
        return validate_recipe(self.recipe, origin=FILE, stored=True)

    def write(self, folder: Path) -> None:
        """Writes the record into the run folder."""
        write_json(folder / FILE, {"format_version": 1, **asdict(self)})

    @staticmethod
    def read(folder: Path) -> "BudgetRecord | None":
        """Reads the record of a run folder; None if the run has no budget.

        Raises:
            CheckpointError: The record is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        document = read_json(path)
        check_format(document, path)
        del document["format_version"]
        try:
            document["times"] = tuple(StageTime(**time) for time in document["times"])
            return BudgetRecord(**document)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: is not the record of a budget ({error}); --redo chooses anew, --run-name begins another run"
            ) from error


def request_of(seconds: float, recipe: AnyRecipe, counts: ImageCounts) -> dict[str, Any]:
    """Returns everything that a choice depends on, except the machine and the speed of reading: field -> value."""
    fields: dict[str, Any] = {"budget": seconds} | {f"images.{name}": count for name, count in asdict(counts).items()}
    for stage in recipe.stage_names:
        fields |= stage_fields(recipe, stage)
    return fields


def choose_recipe(
    recipe: AnyRecipe,
    keep: Keep,
    compute: Compute,
    left: Callable[[], float],
    *,
    is_free: bool,
    cores: int,
    processes: int = 1,
    places: Places = ONE_BY_ONE,
) -> tuple[BudgetChoice, Pictures]:
    """Chooses the sizes and steps of a recipe that end within a time. It measures for some seconds.

    Args:
        recipe: The recipe without the fields that the user gave.
        keep: Puts the fields of the user into a recipe.
        compute: Device and dtype of the run.
        left: Returns the seconds that are left for the run, without the margin.
        is_free: True for a recipe whose sizes are free; False for one that keeps its structure.
        cores: Cores that the run may use.
        processes: Processes that share each batch.
        places: The room for stages that run side by side.

    Raises:
        DataError: There are no pictures, or they cannot be read.
        TooShortError: The time is too short for the smallest candidate.
    """
    kept = keep(recipe)
    pictures = sample_pictures(kept.data)
    machine = measure_machine(compute.device)
    meter = Meter(compute, min(LONGEST, max(_SHORTEST, _MEASURING_SHARE * left())), processes)
    planner = partial(_planner, meter=meter, machine=machine, pictures=pictures)
    fitting, too_large = _within_memory(
        candidates(recipe, pictures, keep, is_free=is_free),
        lambda candidate: _bytes_of(planner(candidate)),
        compute.free_memory,
    )
    chooser = Chooser(
        fitting,
        pictures,
        left,
        estimate=lambda candidate: estimate_rates(
            planner(candidate).stages(), candidate, pictures, meter.threads(candidate)
        ),
        measure=lambda candidate: meter.measure(candidate, pictures),
        cores=cores,
        places=places,
    )
    choice = chooser.choose()
    # A size that is too large matters only where the next smaller one was chosen.
    return replace(choice, too_large=too_large if choice.name == fitting[0].name else ""), pictures


def _planner(recipe: AnyRecipe, meter: Meter, machine: Machine, pictures: Pictures) -> RecipePlanner[Any]:
    return replace(build_planner(recipe, meter.compute, {}, measure=False), machine=machine, counts=pictures.counts)


def _bytes_of(planner: RecipePlanner[Any]) -> int:
    """Returns the memory of the training that needs most."""
    return max(stage.training_bytes or 0 for stage in planner.stages())


def _within_memory(
    found: Sequence[Candidate], bytes_of: Callable[[AnyRecipe], int], free: int
) -> tuple[Sequence[Candidate], str]:
    """Leaves out the candidates that need more memory than is free.

    Args:
        found: From large to small. The smallest one always stays: nothing else could be chosen.
        bytes_of: Returns the memory of a recipe.
        free: Bytes that are free.

    Returns:
        The other candidates, and a line about the smallest one that is left out; "" if none is.
    """
    reason = ""
    for place, candidate in enumerate(found[:-1]):
        needed = bytes_of(candidate.with_share(1.0))
        if needed <= free:
            return found[place:], reason
        reason = f"{candidate.name}: not chosen; it needs {scaled(needed, 'B')} of memory, {scaled(free, 'B')} are free"
    return found[-1:], reason
