"""What a stage folder says of itself, and from it whether a stage is to be skipped, resumed, made or refused.

stage.json: the recipe's fields that change the result, hashes of the inputs, the environment, whether it is
complete, and its figures.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from vqgen.checkpoint import read_json
from vqgen.config import differences, stage_fields
from vqgen.errors import CheckpointError
from vqgen.files import move_aside, write_json
from vqgen.stages.context import RunContext

Action = Literal["skip", "resume", "start"]


@dataclass
class StageRecord:
    """The content of stage.json.

    Attributes:
        stage: Name of the stage.
        fields: The recipe's fields that change its result.
        inputs: Name -> SHA-256 of what it is made from.
        environment: Versions, threads, processes: what bit-identity depends on.
        complete: Whether it is done.
        output: SHA-256 of what it made, once complete.
        figures: What it measured.
    """

    stage: str
    fields: dict[str, Any]
    inputs: dict[str, str]
    environment: dict[str, Any]
    complete: bool = False
    output: str = ""
    figures: dict[str, float] = field(default_factory=dict)


def environment_of(context: RunContext) -> dict[str, Any]:
    """What bit-identity depends on, beside the recipe and the data."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": context.device.type,
        "dtype": context.compute.dtype,
        "threads": torch.get_num_threads(),
        "processes": context.accelerator.num_processes,
    }


def read_record(folder: Path) -> StageRecord | None:
    """Reads a stage's record; None when the stage has not begun.

    Raises:
        CheckpointError: The record is damaged.
    """
    path = folder / "stage.json"
    if not path.is_file():
        return None
    try:
        return StageRecord(**read_json(path))
    except TypeError as error:
        raise CheckpointError(f"{path}: is no record of a stage ({error}); move {folder} away and run again") from error


def decide(record: StageRecord | None, fields: dict[str, Any], inputs: dict[str, str]) -> tuple[Action, list[str]]:
    """What to do with a stage, and the differences from what it was begun with."""
    if record is None:
        return "start", []
    changed = differences(record.fields, fields) + differences(record.inputs, inputs)
    return ("skip" if record.complete else "resume"), changed


def begin_stage(context: RunContext, stage: str, inputs: dict[str, str]) -> tuple[Action, StageRecord]:
    """Opens a stage's folder; decided in the main process, known to all.

    Args:
        context: The run.
        stage: Name of the stage and of its folder.
        inputs: Name -> SHA-256 of what it is made from.

    Returns:
        What to do, and the stage's record.

    Raises:
        CheckpointError: It was begun with another recipe or other inputs, and redoing was not asked for.
    """
    return context.on_main(lambda: _begin_on_main(context, stage, inputs))


def _begin_on_main(context: RunContext, stage: str, inputs: dict[str, str]) -> tuple[Action, StageRecord]:
    folder = context.folder / stage
    fields = stage_fields(context.recipe, stage)
    record = read_record(folder)
    action, changed = decide(record, fields, inputs)
    if changed:
        if not context.redo:
            raise CheckpointError(_refusal(folder, stage, changed))
        aside = move_aside(folder)
        context.say(f"{stage}: moved the old one to {aside}")
        action, record = "start", None
    if action == "start" or record is None:
        if folder.is_dir() and not record and any(folder.iterdir()) and (folder / "state").exists():
            raise CheckpointError(f"{folder}: has a training state but no stage.json; move it away and run again")
        record = StageRecord(stage, fields, inputs, environment_of(context))
        write_json(folder / "stage.json", asdict(record))
    elif action == "resume":
        _warn_of_environment(context, record)
    return action, record


def complete_stage(context: RunContext, record: StageRecord, output: str, figures: dict[str, float]) -> None:
    """Marks a stage as complete."""
    record.complete, record.output, record.figures = True, output, figures
    context.on_main(lambda: write_json(context.folder / record.stage / "stage.json", asdict(record)))


def require_stage(context: RunContext, stage: str) -> StageRecord:
    """The record of a stage that another one needs.

    Raises:
        CheckpointError: It is not complete.
    """
    record = read_record(context.folder / stage)
    if record is None or not record.complete:
        command = {"vqvae": "train-vqvae", "codes": "extract-codes"}.get(stage, f"train-prior --level {stage[6:]}")
        raise CheckpointError(
            f"{context.folder / stage}: is needed first, found "
            f"{'nothing' if record is None else 'an unfinished one'}; `vqgen {command}` or `vqgen run` makes it"
        )
    return record


@contextmanager
def locked(context: RunContext) -> Iterator[None]:
    """Holds the run folder for these processes alone, as long as they live.

    Raises:
        CheckpointError: Other processes hold it.
    """
    handle: list[int] = []

    def lock() -> None:
        context.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(context.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CheckpointError(
                f"run folder {context.folder}: another process is working in it; wait for it, or choose --run-name"
            ) from error
        handle.append(descriptor)

    context.on_main(lock)
    try:
        yield
    finally:
        for descriptor in handle:
            os.close(descriptor)


def _refusal(folder: Path, stage: str, changed: list[str]) -> str:
    shown = changed[:8] + ([f"and {len(changed) - 8} more"] if len(changed) > 8 else [])
    return "\n".join(
        [
            f"{folder}: stage {stage} was made with another recipe or other inputs:",
            *(f"  {line}" for line in shown),
            "--redo moves it aside and makes it again; --run-name begins another run",
        ]
    )


def _warn_of_environment(context: RunContext, record: StageRecord) -> None:
    changed = differences(record.environment, environment_of(context))
    if changed:
        context.warn(f"{record.stage} goes on in another environment, so not bit for bit: {'; '.join(changed)}")
