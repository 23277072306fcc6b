"""The record of a stage, stage.json: the recipe's fields that change the result, inputs, environment and metrics."""

import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vqgen.config import own_fields
from vqgen.errors import CheckpointError
from vqgen.stages.context import RunContext
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_json


@dataclass(frozen=True)
class StageRecord:
    """The content of stage.json.

    Attributes:
        stage: Name of the stage.
        fields: The recipe's fields that change its result.
        inputs: Name -> SHA-256 of what it is made from.
        environment: Versions, threads, processes: what bit-identity depends on.
        complete: True once it is done.
        output: SHA-256 of its result, once it is complete.
        metrics: Its measurements, by name.
        seconds: Time that it took in all sessions; None if it was not measured.
    """

    stage: str
    fields: dict[str, Any]
    inputs: dict[str, str]
    environment: dict[str, Any]
    complete: bool = False
    output: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None

    def write(self, folder: Path) -> None:
        """Writes the record into the folder of its stage."""
        write_json(folder / "stage.json", asdict(self))


def read_record(folder: Path) -> StageRecord | None:
    """Reads the record in a stage's folder; None if the stage has not begun.

    Raises:
        CheckpointError: The record is damaged.
    """
    path = folder / "stage.json"
    if not path.is_file():
        return None
    document = read_json(path)
    if "figures" in document:  # their name in version 0.1
        document["metrics"] = document.pop("figures")
    try:
        record = StageRecord(**document)
        return replace(record, fields=own_fields(record.fields, record.stage))
    except TypeError as error:
        raise CheckpointError(
            f"{path}: is not the record of a stage ({error}); move {folder} away and run again"
        ) from error


def environment_of(context: RunContext) -> dict[str, Any]:
    """Returns what bit-identity depends on, beside the recipe and the data."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": context.device.type,
        "dtype": context.compute.dtype,
        "threads": torch.get_num_threads(),
        "processes": context.accelerator.num_processes,
    }
