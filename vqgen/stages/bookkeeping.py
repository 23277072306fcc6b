"""The decision whether a stage is skipped, resumed, made or refused, from the record in its folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vqgen.config import differences, save_recipe, stage_fields
from vqgen.errors import CheckpointError
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord, environment_of, read_record
from vqgen.storage.files import move_aside
from vqgen.storage.folder_lock import locked_folder
from vqgen.training.state import seconds_of_training

Action = Literal["skip", "resume", "start"]


def decide(record: StageRecord | None, fields: dict[str, Any], inputs: dict[str, str]) -> tuple[Action, list[str]]:
    """What to do with a stage, and the differences from what it was begun with."""
    if record is None:
        return "start", []
    changed = differences(record.fields, fields) + differences(record.inputs, inputs)
    return ("skip" if record.complete else "resume"), changed


def begin_stage(
    context: RunContext, stage: str, inputs: dict[str, str], check: Callable[[], object] = lambda: None
) -> tuple[Action, StageRecord]:
    """Opens a stage's folder; decided in the main process, known to all.

    Args:
        context: The run.
        stage: Name of the stage and of its folder.
        inputs: Name -> SHA-256 of what it is made from.
        check: Called before anything is touched when the stage is to start; it may raise.

    Returns:
        What to do, and the stage's record.

    Raises:
        CheckpointError: It was begun with another recipe or other inputs, and redoing was not asked for.
    """
    return context.on_main(lambda: _begin_on_main(context, stage, inputs, check))


def _begin_on_main(
    context: RunContext, stage: str, inputs: dict[str, str], check: Callable[[], object]
) -> tuple[Action, StageRecord]:
    folder = context.folder / stage
    fields = stage_fields(context.recipe, stage)
    record = read_record(folder)
    action, changed = decide(record, fields, inputs)
    if changed:
        _refuse_unless_redo(context, stage, changed)
        action, record = "start", None
    if action == "start":
        check()
    if changed:
        context.say(f"{stage}: moved the old one to {move_aside(folder)}")
    if action == "start" or record is None:
        if (folder / "state").exists():
            raise CheckpointError(f"{folder}: has a training state but no stage.json; move it away and run again")
        record = StageRecord(stage, fields, inputs, environment_of(context))
        record.write(folder)
    elif action == "resume":
        _warn_of_environment(context, record)
    save_recipe(context.recipe, context.folder / "recipe.toml")
    return action, record


def complete_stage(
    context: RunContext,
    record: StageRecord,
    output: str,
    metrics: dict[str, float],
    finish: Callable[[StageRecord], object] = lambda record: None,
    seconds: float | None = None,
) -> None:
    """Marks a stage as complete.

    Args:
        context: The run.
        record: Its record so far.
        output: SHA-256 of what it made.
        metrics: Its measurements, by name.
        finish: The last that belongs to the stage; it receives the finished record and runs before that is written,
            so that a stage that is complete lacks nothing.
        seconds: Time that it took in all sessions; None for that of the training in its folder, where there is one.
    """

    def mark() -> None:
        taken = seconds_of_training(context.folder / record.stage) if seconds is None else seconds
        finished = replace(record, complete=True, output=output, metrics=metrics, seconds=taken)
        finish(finished)
        finished.write(context.folder / record.stage)

    context.on_main(mark)


def note_seconds(context: RunContext, record: StageRecord, seconds: float) -> None:
    """Writes how long a stage that has no training state took so far, so that it is known when the stage is cut."""
    if context.is_main:
        replace(record, seconds=seconds).write(context.folder / record.stage)


def require_stage(context: RunContext, stage: str) -> StageRecord:
    """The record of a stage that another one needs.

    Raises:
        CheckpointError: It is not complete, or was made with another recipe.
    """
    record = read_record(context.folder / stage)
    if record is None or not record.complete:
        commands = {
            "vqvae": "train-vqvae",
            "autoencoder": "train-autoencoder",
            "codes": "extract-codes",
            "classifier": "train-classifier",
        }
        command = commands.get(stage, f"train-prior --level {stage[6:]}")
        raise CheckpointError(
            f"{context.folder / stage}: is needed first, found "
            f"{'nothing' if record is None else 'an unfinished one'}; `vqgen {command}` or `vqgen run` makes it"
        )
    changed = differences(record.fields, stage_fields(context.recipe, stage))
    if changed:
        raise CheckpointError(_refusal(context.folder / stage, stage, changed))
    return record


def check_unchanged(context: RunContext, stages: Sequence[str]) -> None:
    """Refuses a recipe that differs from the one that made what is there, before anything is touched.

    Raises:
        CheckpointError: It differs, and redoing was not asked for.
    """
    for stage in stages:
        record = read_record(context.folder / stage)
        if record is not None:
            changed = differences(record.fields, stage_fields(context.recipe, stage))
            if changed:
                _refuse_unless_redo(context, stage, changed)


@contextmanager
def locked(context: RunContext) -> Iterator[None]:
    """Holds the run folder for the processes of this launch, as long as they live.

    Raises:
        CheckpointError: Other processes hold it.
    """
    with ExitStack() as held:
        context.on_main(lambda: held.enter_context(locked_folder(context.folder)))
        yield


def _refuse_unless_redo(context: RunContext, stage: str, changed: list[str]) -> None:
    if not context.redo:
        raise CheckpointError(_refusal(context.folder / stage, stage, changed))


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
