"""The whole run: every stage in turn; what is complete is skipped, what was cut goes on."""

from collections.abc import Callable

from vqgen.config import AnyRecipe, BaselineRecipe, stage_fields
from vqgen.errors import CheckpointError
from vqgen.stages.autoencoder.samples import generate_baseline_samples
from vqgen.stages.autoencoder.train import train_autoencoder
from vqgen.stages.bookkeeping import check_unchanged, decide, locked, read_record
from vqgen.stages.context import RunContext
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.generate_samples import generate_samples
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_prior import train_prior
from vqgen.stages.train_vqvae import train_vqvae
from vqgen.storage.files import remove_leftovers


def run_stages(context: RunContext, act: Callable[[RunContext], object]) -> None:
    """Runs `act` with the run folder locked, checked against the recipe and cleaned of what kills left."""
    with locked(context):
        context.on_main(lambda: _prepare_folder(context))
        act(context)


def run_all(context: RunContext) -> None:
    """Trains and samples: VQ-VAE, codes, a prior per level, or a baseline; the classifier where wanted; pictures."""
    if context.is_baseline:
        train_autoencoder(context)
    else:
        train_vqvae(context)
        extract_codes(context)
        for level in context.recipe_with_codes.levels:
            train_prior(context, level)
    if context.recipe.classifier is not None:
        train_classifier(context)
    sample_run(context)


def sample_run(context: RunContext) -> None:
    """Ends a run with its samples, whatever was trained."""
    if context.is_baseline:
        generate_baseline_samples(context)
    else:
        generate_samples(context)


def stage_names(recipe: AnyRecipe) -> list[str]:
    """The stages of a run, in order; also the names of their folders."""
    classifier = [] if recipe.classifier is None else ["classifier"]
    if isinstance(recipe, BaselineRecipe):
        return ["autoencoder", *classifier, "samples"]
    return ["vqvae", "codes", *(f"prior-{level}" for level in recipe.levels), *classifier, "samples"]


def stage_states(context: RunContext) -> dict[str, str]:
    """What `run` would do with each stage, without touching anything."""
    states = {}
    remade = False
    for stage in stage_names(context.recipe):
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
    check_unchanged(context, stage_names(context.recipe))
    remove_leftovers(context.folder)
