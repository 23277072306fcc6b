"""The stages of a run with more steps: those that go on, those that follow them, and the traces in their records."""

from dataclasses import replace

from vqgen.config import differences, stage_fields
from vqgen.config.lengths import length_in, length_of, training_path, training_stages
from vqgen.stages.context import RunContext
from vqgen.stages.continuation import Continuation, follow, source_of
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.copies import copy_aside


def gets_more_steps(context: RunContext, record: StageRecord) -> bool:
    """Returns True if a request for more steps is about to change the record of a stage."""
    wanted = context.continued.get(record.stage)
    # The record of a stage that is made again with more steps begins at step 0.
    return wanted is not None and all(replace(each, since=wanted.since) != wanted for each in record.continuations)


def follows_more_steps(context: RunContext, record: StageRecord, inputs: dict[str, str]) -> bool:
    """Returns True if a stage is to be made again because a training that it is made from got more steps."""
    changed = {name for name in record.inputs.keys() | inputs.keys() if record.inputs.get(name) != inputs.get(name)}
    own = differences(record.fields, stage_fields(context.recipe, record.stage))
    if not changed or (own and record.stage not in context.continued):
        return False
    sources = {source_of(name) for name in changed} & set(context.recipe.stage_names)
    return follow(changed, {stage for stage in sources if _was_continued(context, stage)})


def _was_continued(context: RunContext, stage: str) -> bool:
    """Returns True if a stage got more steps, or was made again because a classifier whose features it compares did."""
    record = read_record(context.folder / stage)
    if record is None:
        return False
    return bool(record.continuations) or ("classifier" in record.inputs and _was_continued(context, "classifier"))


def continue_stage(context: RunContext, record: StageRecord) -> StageRecord:
    """Gives a stage its new length, and returns its record.

    A complete stage stays as a copy: the stages made from it are moved aside, and are of no use without it.
    """
    folder = context.folder / record.stage
    wanted = context.continued[record.stage]
    length = length_of(context.recipe, record.stage)
    kept = f"; the old one is kept as {copy_aside(folder)}" if record.complete else ""
    context.say(f"{record.stage}: goes on from step {wanted.since:,} to {length.text}{kept}")
    continued = replace(
        record,
        fields=stage_fields(context.recipe, record.stage),
        complete=False,
        continuations=(*record.continuations, wanted),
    )
    continued.write(folder)
    return continued


def lengths_before(context: RunContext, stage: str, old: StageRecord | None) -> tuple[Continuation, ...]:
    """Returns the continuations of a stage that starts: the earlier lengths, by which its recipe is known."""
    if old is None or not training_stages(context.recipe, [stage]):
        return ()
    wanted = context.continued.get(stage)
    present = length_in(old.fields, training_path(context.recipe, stage))
    if wanted is None and length_of(context.recipe, stage) != present:
        return ()  # another recipe, with --redo
    return tuple(replace(each, since=0) for each in (*old.continuations, *([] if wanted is None else [wanted])))
