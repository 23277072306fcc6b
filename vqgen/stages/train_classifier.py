"""Beside the two stages: train the classifier of real images, which judges samples and chooses among them."""

from vqgen.errors import DataError
from vqgen.models.checkpoint import hash_model, save_model
from vqgen.reports.pictures import plot_losses
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.autoencoder.assemble import write_baseline
from vqgen.stages.bookkeeping import StageRecord, begin_stage, complete_stage
from vqgen.stages.context import RunContext
from vqgen.training.classifier import train_on
from vqgen.training.metrics_log import read_metrics
from vqgen.training.schedule import training_order

STAGE = "classifier"

_CURVES = {"loss": "training", "val_cross_entropy": "validation"}


def train_classifier(context: RunContext) -> str:
    """Trains the classifier of a run and writes `classifier/`, and into `pipeline/` where there is one.

    Returns:
        The model's SHA-256.

    Raises:
        DataError: The images have no labels.
    """
    recipe, folder, images = context.recipe, context.folder / STAGE, context.images
    section, inputs = recipe.classifier_or_default, {"images": images.fingerprint}
    context.check_batch("classifier.train", section.train)
    if not len(images.label_map):
        raise DataError("classifier: needs images with labels, found none; leave [classifier] out of the recipe")
    action, record = begin_stage(context, STAGE, inputs)
    if action == "skip":
        context.say(f"{STAGE}: complete")
        return record.output
    model, figures = train_on(
        images.train,
        images.validation,
        recipe.classifier_config(len(images.label_map)),
        section,
        recipe.data,
        training_order(section.train, len(images.train), derive_seed(recipe.seed, STAGE), context.world_size),
        context.session(STAGE),
        context.compute,
    )
    context.on_main(lambda: save_model(model, folder / "model", inputs))
    context.on_main(lambda: plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, "nats"))
    output = hash_model(folder / "model")

    def finish(finished: StageRecord) -> None:
        write = write_baseline if context.is_baseline else write_pipeline
        if (context.folder / context.first_stage / "model" / "config.json").is_file():
            write(context, images.label_map, images.indices, finished)

    complete_stage(context, record, output, figures, finish=finish)
    context.say(f"{STAGE}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return output
