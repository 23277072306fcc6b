"""The whole run: every stage in order. A complete stage is skipped, and a cut stage goes on."""

from collections.abc import Callable
from typing import cast

from vqgen.config import Level, stage_fields
from vqgen.errors import CheckpointError
from vqgen.stages.autoencoder.train import train_autoencoder
from vqgen.stages.bookkeeping import check_unchanged, decide, locked
from vqgen.stages.context import RunContext
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.generate_samples import generate_samples
from vqgen.stages.records import read_record
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_prior import train_prior
from vqgen.stages.train_vqvae import train_vqvae
from vqgen.storage.files import remove_leftovers

_RUNNERS: dict[str, Callable[[RunContext], object]] = {
    "vqvae": train_vqvae,
    "autoencoder": train_autoencoder,
    "codes": extract_codes,
    "classifier": train_classifier,
    "samples": generate_samples,
}
"""Stage -> the function that runs it. The priors, one for each level, are not listed."""


def run_locked(context: RunContext, act: Callable[[RunContext], object]) -> None:
    """Runs `act` while the run folder is locked.

    Before, the recipe is compared with the stages in the folder, and temporary files of killed processes are removed.

    Args:
        context: The run.
        act: Runs one stage or all.

    Raises:
        CheckpointError: Another launch holds the folder, or a stage has another recipe and `context.redo` is not set.
    """
    with locked(context):
        context.on_main(lambda: _prepare_folder(context))
        act(context)


def run_all(context: RunContext) -> None:
    """Runs every stage of the recipe, in order."""
    for stage in context.recipe.stage_names:
        run_one(context, stage)


def run_one(context: RunContext, stage: str) -> None:
    """Runs one stage of the recipe by its name."""
    if stage.startswith("prior-"):
        train_prior(context, cast(Level, stage.removeprefix("prior-")))
    else:
        _RUNNERS[stage](context)


def stage_states(context: RunContext) -> dict[str, str]:
    """Returns, for each stage, the action of `vqgen run` in words. Nothing is changed."""
    states = {}
    is_remade = False
    for stage in context.recipe.stage_names:
        try:
            record = read_record(context.folder / stage)
        except CheckpointError:
            states[stage] = "damaged"
            continue
        # The present hashes of the inputs are not computed here: that would read all images. Instead, every stage after
        # a stage that is made again counts as changed.
        inputs = record.inputs if record else {}
        action, changed = decide(record, stage_fields(context.recipe, stage), inputs)
        if is_remade or (changed and context.redo):
            states[stage] = "make again" if record else "make"
            is_remade = is_remade or record is not None
        elif changed:
            states[stage] = f"refuse without --redo: {'; '.join(changed)}"
        else:
            states[stage] = {"start": "make", "resume": "resume where it was cut", "skip": "skip, complete"}[action]
    return states


def _prepare_folder(context: RunContext) -> None:
    # The check comes first: a run that is refused leaves the folder as it was.
    check_unchanged(context, context.recipe.stage_names)
    remove_leftovers(context.folder)
