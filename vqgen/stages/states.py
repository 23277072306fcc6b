"""The state of each stage before a run: the action of `vqgen run` in words, and the share of the work that is left."""

from collections.abc import Mapping

from vqgen.config import stage_fields
from vqgen.config.lengths import length_of, training_stages
from vqgen.errors import CheckpointError
from vqgen.stages.bookkeeping import decide
from vqgen.stages.context import RunContext
from vqgen.stages.continuation import source_of
from vqgen.stages.continuing import follows_more_steps, gets_more_steps
from vqgen.stages.more_steps import finished_steps, is_longer
from vqgen.stages.records import StageRecord, read_record
from vqgen.stages.warm_start import start_inputs, without_start

COMPLETE = "skip, complete"

MAKE = "make"

_RESUME = "resume where it was cut"

AGAIN = "make again"


def stage_states(context: RunContext) -> dict[str, str]:
    """Returns, for each stage, the action of `vqgen run` in words. Nothing is changed."""
    states: dict[str, str] = {}
    records: dict[str, StageRecord] = {}
    is_remade = False  # with --redo
    longer: set[str] = set()  # stages whose result may change because trainings get more steps
    for stage in context.recipe.stage_names:
        try:
            record = read_record(context.folder / stage)
        except CheckpointError:
            states[stage] = "damaged"
            continue
        if record is None:
            states[stage] = MAKE
            continue
        records[stage] = record
        inputs = _present_inputs(context, record, records)
        sources = {source_of(name) for name in inputs}
        follows = bool(sources & longer) or follows_more_steps(context, record, inputs)
        states[stage] = _state(context, record, inputs, is_remade=is_remade, follows=follows)
        # The present hash of the images is not computed here: that would read all of them. Instead, every stage after
        # a stage that is made again counts as changed.
        is_remade = is_remade or (states[stage] == AGAIN and not follows)
        goes_on = states[stage] == _RESUME and bool(record.continuations)
        if follows or goes_on or gets_more_steps(context, record):
            longer.add(stage)
    return states


def _state(context: RunContext, record: StageRecord, inputs: dict[str, str], *, is_remade: bool, follows: bool) -> str:
    """Returns the action for a stage that has begun.

    Args:
        context: The run.
        record: The record of the stage.
        inputs: The inputs that it would have now, as far as they are known.
        is_remade: True if an earlier stage is made again with --redo.
        follows: True if a training that the stage is made from gets more steps.
    """
    action, changed = decide(record, stage_fields(context.recipe, record.stage), inputs)
    if is_remade or follows:
        return AGAIN  # with the new length, if it gets more steps, too
    if gets_more_steps(context, record) and record.inputs == inputs:
        return _going_on(context, record.stage)
    if not changed:
        return {"start": MAKE, "resume": _RESUME, "skip": COMPLETE}[action]
    if context.redo:
        return AGAIN
    options = "--more-steps or --redo" if is_longer(context.recipe, context.folder, record) else "--redo"
    return f"refuse without {options}: {'; '.join(changed)}"


def _going_on(context: RunContext, stage: str) -> str:
    return f"go on from step {context.continued[stage].since:,} to {length_of(context.recipe, stage).text}"


def _present_inputs(context: RunContext, record: StageRecord, records: Mapping[str, StageRecord]) -> dict[str, str]:
    """Returns the inputs of a stage with the present hashes of its start and of the complete stages among them."""
    complete = {stage: each.output for stage, each in records.items() if each.complete}
    others = without_start(record.inputs)
    return {name: complete.get(name, value) for name, value in others.items()} | start_inputs(context, record.stage)


def shares_to_do(context: RunContext) -> dict[str, float]:
    """Returns, for each stage of a run, the share of its work that is left, in [0, 1]."""
    return {stage: _share_to_do(context, stage, state) for stage, state in stage_states(context).items()}


def _share_to_do(context: RunContext, stage: str, state: str) -> float:
    if state == COMPLETE:
        return 0.0
    if not training_stages(context.recipe, [stage]) or not state.startswith((_RESUME, "go on")):
        return 1.0
    length = length_of(context.recipe, stage)
    if length.epochs is not None:  # the number of its steps depends on the images
        return 1.0
    record = read_record(context.folder / stage)
    return 1.0 if record is None else max(0.0, 1 - finished_steps(context.folder / stage, record) / length.steps)
