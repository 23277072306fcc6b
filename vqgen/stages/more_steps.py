"""More steps for trainings that have begun: the request, the new recipe, and the stages that follow.

recipe of the user --> adopted_recipe: the lengths that earlier requests led to --> lengthened: the lengths of this one
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqgen.config import AnyRecipe, differences, stage_fields
from vqgen.config.lengths import (
    Length,
    length_in,
    length_of,
    training_path,
    training_stages,
    with_length,
    without_length,
)
from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.continuation import Continuation
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.tensors import load_text
from vqgen.training.state import Progress, state_path


@dataclass(frozen=True)
class MoreSteps:
    """The steps that --more-steps asks for.

    Attributes:
        by_stage: Stage -> steps beside those that it has, at least 1.
        each: Steps for every stage that the command trains; None names the stages one by one.
        of_recipe: True continues each stage that has fewer steps than the recipe.
    """

    by_stage: Mapping[str, int] = field(default_factory=dict)
    each: int | None = None
    of_recipe: bool = False


@dataclass(frozen=True)
class LongerRun:
    """The answer to a request.

    Attributes:
        recipe: The recipe with the new lengths.
        continued: Stage -> its continuation, for the stages that get more steps now.
        notes: A line for each stage that needs no more than it has been given already.
    """

    recipe: AnyRecipe
    continued: dict[str, Continuation] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def adopted_recipe(recipe: AnyRecipe, folder: Path, stages: Iterable[str]) -> AnyRecipe:
    """Returns the recipe with the lengths that earlier requests for more steps led to.

    So the command that began the run stays the command that goes on with it. A length that no record knows is a wish
    of the user, and stays.

    Args:
        recipe: The recipe of the user.
        folder: The run folder.
        stages: Stages of the recipe.
    """
    for stage in training_stages(recipe, stages):
        try:
            record = read_record(folder / stage)
        except CheckpointError:  # a damaged record: the stage itself reports it
            continue
        if record is None or not record.continuations:
            continue
        present = length_in(record.fields, training_path(recipe, stage))
        if length_of(recipe, stage) in (present, *(each.length for each in record.continuations)):
            recipe = with_length(recipe, stage, present)
    return recipe


def lengthened(recipe: AnyRecipe, folder: Path, stages: Iterable[str], request: MoreSteps) -> LongerRun:
    """Gives trainings more steps. Nothing in the folder is changed.

    Args:
        recipe: The recipe, after `adopted_recipe`.
        folder: The run folder.
        stages: The stages that the command works on.
        request: The steps.

    Raises:
        ConfigError: A stage does not train, has not begun, or gets steps from the recipe, too.
        CheckpointError: The state of a stage is missing or damaged, other fields of its recipe changed, or an earlier
            request for it is not finished.
    """
    trained = training_stages(recipe, stages)
    run = LongerRun(recipe)
    for stage, more in _asked(request, trained, folder).items():
        run = _with_more(run, folder, stage, more)
    if request.of_recipe:
        for stage in [stage for stage in trained if stage not in run.continued]:
            run = _with_steps_of_recipe(run, folder, stage)
    return run


def _asked(request: MoreSteps, trained: list[str], folder: Path) -> dict[str, int]:
    """Returns the steps that the request has for each stage."""
    unknown = [stage for stage in request.by_stage if stage not in trained]
    if unknown:
        raise ConfigError(
            f"--more-steps: should name a stage that this command trains ({', '.join(trained)}), found {unknown[0]!r}"
        )
    asked = dict(request.by_stage)
    if request.each is not None:
        begun = [stage for stage in trained if (folder / stage / "stage.json").is_file()]
        if not begun:
            raise ConfigError(
                f"--more-steps {request.each}: needs a training that has begun, found none in {folder}; "
                "leave it out, or set the steps of the recipe"
            )
        asked = dict.fromkeys(begun, request.each) | asked
    return asked


def _with_more(run: LongerRun, folder: Path, stage: str, more: int) -> LongerRun:
    """Gives one training a number of steps beside those that it has."""
    path = training_path(run.recipe, stage)
    record = read_record(folder / stage)
    if record is None:
        raise ConfigError(
            f"--more-steps {stage}={more}: needs a stage that has begun, found none in {folder}; "
            f"leave it out, or set --{path}.steps".replace("_", "-")
        )
    present = length_in(record.fields, path)
    _check_fields(run.recipe, folder, record, path)
    if length_of(run.recipe, stage) != present:
        raise ConfigError(
            f"--more-steps {stage}={more}: should be left without a number if the recipe has another length, found "
            f"{length_of(run.recipe, stage).text} there and {present.text} in {folder / stage}"
        )
    done = finished_steps(folder / stage, record)
    latest = record.continuations[-1] if record.continuations else None
    # A complete stage with other steps than before is a new wish: the stages after it may have shown the need.
    if latest is not None and latest.open and (latest.more == more or not record.complete):
        return _with_note(run, folder, record, latest, present, done, more)
    if present.epochs is not None and not record.complete:
        raise ConfigError(
            f"--more-steps {stage}={more}: counts steps, but {stage} trains for {present.text} and is not complete; "
            f"set --{path}.epochs and give --more-steps without a number"
        )
    # A complete training may have ended before the length of its recipe, by patience or a limit of time.
    length = Length((done if record.complete else present.steps) + more)
    return _continued(run, stage, Continuation(done, present, more), length)


def _with_note(
    run: LongerRun, folder: Path, record: StageRecord, latest: Continuation, present: Length, done: int, more: int
) -> LongerRun:
    """Goes on with an earlier request for the same steps, and refuses another one."""
    stage = record.stage
    given = "--more-steps" if latest.more is None else f"--more-steps {stage}={latest.more}"
    if latest.more != more:
        raise CheckpointError(
            f"{folder / stage}: {given} of an earlier command is not finished (step {done:,} of {present.text}); run "
            "that command again, or `vqgen run` without --more-steps, before you ask for other steps"
        )
    note = f"  {stage:<16} goes on with {given}, which was asked for before: step {done:,} of {present.text}"
    return LongerRun(run.recipe, run.continued, (*run.notes, note))


def _with_steps_of_recipe(run: LongerRun, folder: Path, stage: str) -> LongerRun:
    """Gives one training the steps that the recipe has, if they are more and nothing else changed."""
    path = training_path(run.recipe, stage)
    record = read_record(folder / stage)
    if record is None or not is_longer(run.recipe, folder, record):
        return run  # a stage that changed otherwise is refused, or made again, as without this request
    done = finished_steps(folder / stage, record)
    return _continued(run, stage, Continuation(done, length_in(record.fields, path)), length_of(run.recipe, stage))


def _continued(run: LongerRun, stage: str, continuation: Continuation, length: Length) -> LongerRun:
    return LongerRun(with_length(run.recipe, stage, length), {**run.continued, stage: continuation}, run.notes)


def is_longer(recipe: AnyRecipe, folder: Path, record: StageRecord) -> bool:
    """Returns True if the recipe differs from a stage's record by more steps alone, so that the stage can go on.

    Args:
        recipe: The recipe.
        folder: The run folder.
        record: The record of the stage.
    """
    if not training_stages(recipe, [record.stage]):
        return False
    path = training_path(recipe, record.stage)
    if _other_changes(recipe, record, path):
        return False
    try:
        done = finished_steps(folder / record.stage, record)
    except CheckpointError:  # the wish alone needs no state
        done = 0
    return length_of(recipe, record.stage).is_longer_than(length_in(record.fields, path), done)


def finished_steps(folder: Path, record: StageRecord) -> int:
    """Returns the steps that the saved state of a stage has done; 0 for a stage that was cut before its first save.

    Raises:
        CheckpointError: The stage is complete and its state is missing, or the state is damaged.
    """
    path = state_path(folder)
    if path.is_file():
        return Progress.read(load_text(path), path).step
    if record.complete:
        raise CheckpointError(
            f"{path}: is needed to train {record.stage} further, found no such file; restore it, or give the stage its "
            "steps in the recipe and --redo, which trains it anew"
        )
    return 0


def _check_fields(recipe: AnyRecipe, folder: Path, record: StageRecord, path: str) -> None:
    others = _other_changes(recipe, record, path)
    if others:
        raise CheckpointError(
            "\n".join(
                [
                    f"{folder / record.stage}: --more-steps needs the recipe of the stage; other fields changed:",
                    *(f"  {line}" for line in others[:5]),
                    f"{folder / 'recipe.toml'} is the recipe of this run; --redo makes the stage again by another one",
                ]
            )
        )


def _other_changes(recipe: AnyRecipe, record: StageRecord, path: str) -> list[str]:
    """Lists the changes of a stage's recipe beside its length."""
    now = stage_fields(recipe, record.stage)
    return differences(without_length(record.fields, path), without_length(now, path))


def close_requests(folder: Path, stages: Iterable[str]) -> None:
    """Notes that a command has finished the continuations of its stages: the next request adds steps again."""
    for stage in stages:
        record = read_record(folder / stage)
        if record is not None and record.complete and any(each.open for each in record.continuations):
            record.with_closed_requests().write(folder / stage)
