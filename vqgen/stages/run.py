"""The whole run: every stage in turn; a complete one is skipped, a cut one goes on."""

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
"""Stage -> its function; the priors, one per level, come beside these."""


def run_locked(context: RunContext, act: Callable[[RunContext], object]) -> None:
    """Runs `act` with the run folder locked, checked against the recipe and cleaned of what kills left."""
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
    """Returns what `run` would do with each stage, without touching anything."""
    states = {}
    remade = False
    for stage in context.recipe.stage_names:
        try:
            record = read_record(context.folder / stage)
        except CheckpointError:
            states[stage] = "damaged"
            continue
        inputs = record.inputs if record else {}
        action, changed = decide(record, stage_fields(context.recipe, stage), inputs)
        if remade or (changed and context.redo):
            states[stage] = "make again" if record else "make"
            remade = remade or record is not None
        elif changed:
            states[stage] = f"refuse without --redo: {'; '.join(changed)}"
        else:
            states[stage] = {"start": "make", "resume": "go on where it was cut", "skip": "skip, complete"}[action]
    return states


def _prepare_folder(context: RunContext) -> None:
    check_unchanged(context, context.recipe.stage_names)
    remove_leftovers(context.folder)
