"""Beside the two stages: the training of the classifier of real images, which judges samples and chooses among them."""

from vqgen.errors import DataError
from vqgen.reports.plots import plot_losses
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.stages.warm_start import warm_start
from vqgen.training.classifier import train_on
from vqgen.training.metrics_log import read_metrics
from vqgen.training.schedule import training_order

STAGE = "classifier"

_CURVES = {"loss": "training", "val_cross_entropy": "validation"}
"""Name of a metric -> its name in the plot of the losses."""


def train_classifier(context: RunContext) -> str:
    """Trains the classifier of a run, writes `classifier/` and adds the classifier to `pipeline/`, if there is one.

    Returns:
        SHA-256 of the model.

    Raises:
        DataError: The images have no labels, an image cannot be read, or the loss is not finite.
        ConfigError: The batches are smaller than the number of processes.
        CheckpointError: The stage was begun with another recipe or other images.
    """
    recipe = context.recipe
    images = context.images
    section = recipe.classifier_or_default
    start = warm_start(context, STAGE, images.label_map)
    inputs = {"images": images.fingerprint, **start.inputs}
    context.check_batch("classifier.train", section.train)
    if not len(images.label_map):
        raise DataError("classifier: needs images with labels, found none; remove [classifier] from the recipe")

    def work(record: StageRecord) -> StageResult:
        model, metrics = train_on(
            images.train,
            images.validation,
            recipe.classifier_config(len(images.label_map)),
            section,
            recipe.data,
            training_order(section.train, len(images.train), derive_seed(recipe.seed, STAGE), context.world_size),
            context.session(STAGE, record.continued_from, start),
            context.compute,
        )
        output = save_stage_model(context, STAGE, model, inputs)
        context.on_main(lambda: _plot(context))
        return StageResult(output, metrics)

    return run_stage(
        context,
        STAGE,
        inputs,
        work,
        check=start.check,
        finish=lambda finished: write_pipeline(context, images.label_map, images.indices, finished),
    )


def _plot(context: RunContext) -> None:
    folder = context.folder / STAGE
    plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, "nats")
