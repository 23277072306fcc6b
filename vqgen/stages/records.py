"""The record of a stage, stage.json: its inputs, the recipe fields that change its result, and its measurements."""

import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vqgen.config import AnyRecipe, BaselineRecipe, Recipe, differences, own_fields, stage_fields
from vqgen.config.lengths import Length
from vqgen.errors import CheckpointError
from vqgen.stages.context import RunContext
from vqgen.stages.continuation import Continuation
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_json


@dataclass(frozen=True)
class StageRecord:
    """The content of stage.json.

    Attributes:
        stage: Name of the stage.
        fields: Recipe field -> value, for the fields that change the result.
        inputs: Name -> SHA-256 of everything that the stage is made from.
        environment: Versions, device, dtype, threads and processes of the first session. Results are bit-identical only
            in the same environment.
        complete: True once the stage is finished.
        output: SHA-256 of the result; empty before the stage is complete. While a complete training is continued, it is
            the hash of the model so far.
        metrics: The measurements, by name.
        seconds: Time of the stage over all sessions; None if it was not measured.
        measured_range: Values of black and white of the training images whose samples have no range of their own.
            stage.json has the key only if there are such images.
        continuations: The times that the training got more steps, in order. stage.json has the key only if there are
            any.
    """

    # The names of these fields are keys of stage.json.
    stage: str
    fields: dict[str, Any]
    inputs: dict[str, str]
    environment: dict[str, Any]
    complete: bool = False
    output: str = ""
    metrics: dict[str, int | float] = field(default_factory=dict)
    seconds: float | None = None
    measured_range: tuple[float, float] | None = None
    continuations: tuple[Continuation, ...] = ()

    @property
    def continued_from(self) -> int | None:
        """Finished steps at which the latest continuation began; None without one."""
        return self.continuations[-1].since if self.continuations else None

    @property
    def first_length(self) -> Length | None:
        """The length with which the training began; None if it is the present one."""
        return next((each.length for each in self.continuations if each.since), None)

    def with_closed_requests(self) -> "StageRecord":
        """Returns the record of a stage whose requests for more steps have been answered."""
        return replace(self, continuations=tuple(replace(each, open=False) for each in self.continuations))

    def write(self, folder: Path) -> None:
        """Writes the record into the folder of its stage."""
        document = asdict(self)
        for name in ("measured_range", "continuations"):
            if not document[name]:  # an earlier version can then read the record
                del document[name]
        write_json(folder / "stage.json", document)


def read_record(folder: Path) -> StageRecord | None:
    """Reads the record in the folder of a stage; None if the stage has not begun.

    Raises:
        CheckpointError: The record is damaged.
    """
    path = folder / "stage.json"
    if not path.is_file():
        return None
    document = read_json(path)
    if "figures" in document:  # the name of the metrics in version 0.1
        document["metrics"] = document.pop("figures")
    try:
        continuations = tuple(map(Continuation.read, document.pop("continuations", ())))
        measured = document.pop("measured_range", None)
        record = StageRecord(**document, measured_range=measured and tuple(measured), continuations=continuations)
        # An earlier version may have recorded fields under other names, which would look like changes of the recipe.
        return replace(record, fields=own_fields(record.fields, record.stage))
    except (TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: is not the record of a stage ({error}); move {folder} away and run again"
        ) from error


def measured_rates(recipe: AnyRecipe, folder: Path) -> dict[str, float]:
    """Reads the rates that the complete priors of a run measured on the validation images.

    A prior must come from the VQ-VAE and the codes of the same recipe, so the records of these stages must fit, too.

    Args:
        recipe: The recipe. A baseline has no priors, so it has no rates.
        folder: The run folder.

    Returns:
        Level -> bits per pixel of its codes.
    """
    if isinstance(recipe, BaselineRecipe):
        return {}
    rates = {}
    for level in recipe.levels:
        records = [_fitting_record(recipe, folder, stage) for stage in ("vqvae", "codes", f"prior-{level}")]
        rate = records[-1].metrics.get("val_bpp") if records[-1] else None
        if None not in records and rate is not None:
            rates[level] = rate
    return rates


def _fitting_record(recipe: Recipe, folder: Path, stage: str) -> StageRecord | None:
    """Reads the record of a complete stage of this recipe; None if the stage is not complete or has another recipe."""
    try:
        record = read_record(folder / stage)
    except CheckpointError:  # a damaged record: `vqgen run --dry-run` shows it
        return None
    fits = record is not None and record.complete and not differences(record.fields, stage_fields(recipe, stage))
    return record if fits else None


def environment_of(context: RunContext) -> dict[str, Any]:
    """Returns everything that bit-identity depends on beside the recipe and the data."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": context.device.type,
        "dtype": context.compute.dtype,
        "threads": torch.get_num_threads(),
        "processes": context.accelerator.num_processes,
    }
