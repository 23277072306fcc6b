"""Stage two: the training of the PixelCNN prior of one level on stored codes."""

from vqgen.config import Level
from vqgen.data import CodeStore
from vqgen.data.wrong_labels import check_label_contrast
from vqgen.models.checkpoint import save_model
from vqgen.reports.plots import plot_losses
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.gate import check_codes
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.stages.warm_start import warm_start
from vqgen.training.metrics_log import read_metrics
from vqgen.training.prior import FittedPrior, fit_prior, mean_nats_per_code

_CURVES = {"loss": "training", "val_nats_per_code": "validation"}
"""Name of a metric -> its name in the plot of the losses."""


def train_prior(context: RunContext, level: Level) -> str:
    """Trains the prior of one level, writes `prior-LEVEL/` and adds the prior to `pipeline/`.

    Args:
        context: The run.
        level: The level to learn.

    Returns:
        SHA-256 of the model.

    Raises:
        CheckpointError: The VQ-VAE or its codes are missing, or the stage was begun with another recipe or other codes.
        ConfigError: The recipe is of a baseline, the batches are smaller than the number of processes, or a prior
            contrasts labels that the images do not have.
        DataError: The codes have collapsed, or the loss is not finite.
    """
    recipe = context.recipe_with_codes
    section = recipe.prior(level)
    context.check_batch(f"priors.{recipe.levels.index(level)}.train", section.train)
    made_from = {stage: require_stage(context, stage).output for stage in ("vqvae", "codes")}
    store = CodeStore(context.folder / "codes", made_from["vqvae"])
    check_label_contrast(recipe, len(store.info.label_map))
    stage = f"prior-{level}"
    start = warm_start(context, stage, store.info.label_map)
    inputs = made_from | start.inputs

    def work(record: StageRecord) -> StageResult:
        config = recipe.prior_config(level, len(store.info.label_map))
        session = context.session(stage, record.continued_from, start)
        fitted = fit_prior(config, section.train, store, session, context.compute, guide_share=section.guide_share)
        _save_guide(context, stage, fitted, section.guide_share, inputs)
        output = save_stage_model(context, stage, fitted.model, inputs)
        context.on_main(lambda: _plot(context, stage))
        return StageResult(output, _metrics(context, fitted, store))

    def check() -> None:
        check_codes(context, store)
        start.check()

    return run_stage(
        context,
        stage,
        inputs,
        work,
        check=check,
        finish=lambda finished: write_pipeline(context, store.info.label_map, store.info.indices, finished),
    )


def _save_guide(
    context: RunContext, stage: str, fitted: FittedPrior, guide_share: float, inputs: dict[str, str]
) -> None:
    """Saves the guide of a prior, or warns if the training ended before there was one."""
    guide = fitted.guide
    if guide is not None:
        context.on_main(lambda: save_model(guide, context.folder / stage / "guide", inputs))
    elif guide_share:
        context.warn(
            f"{stage}: patience ended the training after {fitted.metrics['steps']} steps, before it kept a guide; "
            f"autoguidance needs one: choose a guide_share below {guide_share:g} or a larger patience, and --redo"
        )


def _metrics(context: RunContext, fitted: FittedPrior, store: CodeStore) -> dict[str, int | float]:
    """Returns the metrics of the best validation, the nats of the training images, and the rate of this level."""
    config = fitted.model.config
    bits_per_image = fitted.metrics["val_bits_per_code"] * config.height * config.width
    return fitted.metrics | {
        # Beside the validation, it shows how far the prior has learned the training images by heart.
        "train_nats_per_code": mean_nats_per_code(
            fitted.model, store, "train", context.compute, context.rank, context.world_size
        ),
        "val_bpp": bits_per_image / context.recipe.data.image_size**2,
    }


def _plot(context: RunContext, stage: str) -> None:
    folder = context.folder / stage
    plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, "nats per code")
