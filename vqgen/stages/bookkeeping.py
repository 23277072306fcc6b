"""The decision to skip, resume, start or refuse a stage, from the record in its folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal

from vqgen.config import differences, save_recipe, stage_fields
from vqgen.errors import CheckpointError
from vqgen.stages.context import RunContext
from vqgen.stages.continuing import continue_stage, follows_more_steps, gets_more_steps, lengths_before
from vqgen.stages.feature_source import outside_inputs
from vqgen.stages.more_steps import is_longer
from vqgen.stages.records import StageRecord, environment_of, read_record
from vqgen.stages.warm_start import MODEL_INPUT, inputs_of_start, start_inputs
from vqgen.storage.files import move_aside
from vqgen.storage.folder_lock import locked_folder
from vqgen.training.state import seconds_of_training

Action = Literal["skip", "resume", "start"]

_Way = Literal["skip", "resume", "start", "continue", "again"]
"""The action of a stage, with two ways to resume or start: continue with more steps, and move aside to make again."""

_MOST_SHOWN = 8
"""Changed fields that an error lists."""

_COMMANDS = {
    "vqvae": "train-vqvae",
    "autoencoder": "train-autoencoder",
    "codes": "extract-codes",
    "classifier": "train-classifier",
}
"""Stage -> the command that makes it. The priors, one for each level, are made by train-prior."""


def decide(record: StageRecord | None, fields: dict[str, Any], inputs: dict[str, str]) -> tuple[Action, list[str]]:
    """Compares the record of a stage with the present recipe and inputs.

    Args:
        record: The record in the stage's folder; None if the stage has not begun.
        fields: The present recipe fields that change the result.
        inputs: Name -> SHA-256 of everything that the stage is made from now.

    Returns:
        The action if nothing changed, and the changes, a line for each.
    """
    if record is None:
        return "start", []
    changed = differences(record.fields, fields) + differences(record.inputs, inputs)
    return ("skip" if record.complete else "resume"), changed


def begin_stage(
    context: RunContext, stage: str, inputs: dict[str, str], check: Callable[[], object] = lambda: None
) -> tuple[Action, StageRecord]:
    """Opens the folder of a stage. The main process decides for all.

    Args:
        context: The run.
        stage: Name of the stage and of its folder.
        inputs: Name -> SHA-256 of everything that the stage is made from.
        check: Called before a stage starts and before anything is changed. It may raise.

    Returns:
        The action, and the stage's record.

    Raises:
        CheckpointError: The stage was begun with another recipe or other inputs, and `context.redo` is not set.
    """
    return context.on_main(lambda: _begin_on_main(context, stage, inputs, check))


def _begin_on_main(
    context: RunContext, stage: str, inputs: dict[str, str], check: Callable[[], object]
) -> tuple[Action, StageRecord]:
    folder = context.folder / stage
    record = read_record(folder)
    way = _way(context, stage, record, inputs)
    if way in ("start", "again"):
        check()  # before the old result is moved aside, so that a refusal leaves it in its place
    if way == "again":
        context.say(f"{stage}: moved the old one to {move_aside(folder)}")
    if way in ("start", "again") or record is None:
        # A training resumes from any state that it finds. Nobody knows the recipe of a state without a record.
        if (folder / "state").exists():
            raise CheckpointError(
                f"{folder}: contains a training state but no stage.json; move the folder away and run again"
            )
        # Written before the work, so that a cut stage is resumed, or refused if the recipe has changed.
        fields = stage_fields(context.recipe, stage)
        lengths = lengths_before(context, stage, record)
        record = StageRecord(stage, fields, inputs, environment_of(context), continuations=lengths)
        record.write(folder)
        way = "start"
    elif way == "continue":
        record = continue_stage(context, record)
        way = "resume"
    if way == "resume":
        _warn_of_environment(context, record)
    save_recipe(context.recipe, context.folder / "recipe.toml")
    return way, record


def _way(context: RunContext, stage: str, record: StageRecord | None, inputs: dict[str, str]) -> _Way:
    """Returns the action for a stage.

    Raises:
        CheckpointError: The recipe or the inputs changed, `context.redo` is not set, and no request for more steps is
            the reason.
    """
    if record is None:
        return "start"
    action, changed = decide(record, stage_fields(context.recipe, stage), inputs)
    if gets_more_steps(context, record) and record.inputs == inputs:
        return "continue"
    if not changed:
        return action
    if not follows_more_steps(context, record, inputs):
        _refuse_unless_redo(context, record, changed)
    return "again"


def complete_stage(
    context: RunContext,
    record: StageRecord,
    output: str,
    metrics: dict[str, int | float],
    finish: Callable[[StageRecord], object] = lambda record: None,
    seconds: float | None = None,
) -> None:
    """Marks a stage as complete.

    Args:
        context: The run.
        record: The stage's record so far.
        output: SHA-256 of the result.
        metrics: The measurements, by name.
        finish: The last work of the stage, in the main process. It receives the complete record.
        seconds: Time of the stage over all sessions; None for the time of the training in its folder, if it has one.
    """

    def mark() -> None:
        taken = seconds_of_training(context.folder / record.stage) if seconds is None else seconds
        finished = replace(record, complete=True, output=output, metrics=metrics, seconds=taken)
        finished = replace(finished, measured_range=context.measured_range or record.measured_range)
        # Stages that end together write the pipeline one by one: the last one then finds the records of all others.
        with context.completing():
            # The record comes last: after a kill in `finish` the stage is not complete, and `finish` runs again.
            finish(finished)
            finished.write(context.folder / record.stage)

    context.on_main(mark)


def note_seconds(context: RunContext, record: StageRecord, seconds: float) -> None:
    """Writes the duration of an unfinished stage into its record, so that the next session can add to it.

    Args:
        context: The run.
        record: The stage's record so far.
        seconds: Time of the stage over all sessions. A training keeps this time in its state, so it needs no note.
    """
    if context.is_main:
        replace(record, seconds=seconds).write(context.folder / record.stage)


def require_stage(context: RunContext, stage: str) -> StageRecord:
    """Returns the record of a stage that another stage needs.

    Raises:
        CheckpointError: The stage is not complete, or was made with another recipe.
    """
    record = read_record(context.folder / stage)
    if record is None or not record.complete:
        command = _COMMANDS.get(stage, f"train-prior --level {stage.removeprefix('prior-')}")
        raise CheckpointError(
            f"{context.folder / stage}: is needed first, found "
            f"{'nothing' if record is None else 'an unfinished stage'}; `vqgen {command}` or `vqgen run` makes it"
        )
    changed = differences(record.fields, stage_fields(context.recipe, stage))
    if changed:
        raise CheckpointError(_refusal(context, record, changed))
    return record


def is_up_to_date(context: RunContext, stage: str) -> bool:
    """Returns True if a stage is complete and its recipe and its inputs are unchanged. Nothing is changed.

    Args:
        context: The run. All stages that `stage` is made from are complete.
        stage: Name of the stage.

    Raises:
        CheckpointError: The recipe or the inputs changed, and `context.redo` is not set.
    """
    record = read_record(context.folder / stage)
    if record is None:
        return False
    own = [name for name in record.inputs if name in context.recipe.stage_names]
    inputs = {"images": context.images.fingerprint} if "images" in record.inputs else {}
    inputs |= {name: require_stage(context, name).output for name in own} | start_inputs(context, stage)
    if stage == context.first_stage:
        inputs |= outside_inputs(context)
    return _way(context, stage, record, inputs) == "skip"


def check_unchanged(context: RunContext, stages: Sequence[str]) -> None:
    """Refuses a recipe that differs from the recipe of the stages in the run folder, before anything is changed.

    Raises:
        CheckpointError: The recipes or the models of their start differ, and `context.redo` is not set.
    """
    for stage in stages:
        record = read_record(context.folder / stage)
        if record is not None and stage not in context.continued:
            changed = differences(record.fields, stage_fields(context.recipe, stage))
            changed += differences(inputs_of_start(record), start_inputs(context, stage))
            if changed:
                _refuse_unless_redo(context, record, changed)


@contextmanager
def locked(context: RunContext) -> Iterator[None]:
    """Locks the run folder for all processes of this launch until the block or the main process ends.

    Raises:
        CheckpointError: Another launch holds the lock.
    """
    with ExitStack() as held:
        # Only the main process takes the lock: a second process would be refused by the first.
        context.on_main(lambda: held.enter_context(locked_folder(context.folder)))
        yield


def _refuse_unless_redo(context: RunContext, record: StageRecord, changed: list[str]) -> None:
    if not context.redo:
        raise CheckpointError(_refusal(context, record, changed))


def _refusal(context: RunContext, record: StageRecord, changed: list[str]) -> str:
    more = len(changed) - _MOST_SHOWN
    shown = changed[:_MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    if is_longer(context.recipe, context.folder, record):
        cause = "fewer steps"
        remedies = ["--more-steps goes on from its last step"]
    else:
        cause = "another recipe or other inputs"
        remedies = []
    if MODEL_INPUT in record.inputs and context.recipe.init_from is None:
        remedies.append("--init-from CHECKPOINT, as when it began, goes on with it")
    remedies += ["--redo moves it aside and makes it again", "--run-name begins another run"]
    return "\n".join(
        [
            f"{context.folder / record.stage}: stage {record.stage} was made with {cause}:",
            *(f"  {line}" for line in shown),
            "; ".join(remedies),
        ]
    )


def _warn_of_environment(context: RunContext, record: StageRecord) -> None:
    changed = differences(record.environment, environment_of(context))
    if changed:
        context.warn(
            f"{record.stage}: resumes in another environment, so its result may differ from the result of an "
            f"uninterrupted run: {'; '.join(changed)}"
        )
