"""Stage one: the training of the VQ-VAE."""

import torch

from vqgen.data import evaluation_transform
from vqgen.data.wrong_labels import check_label_contrast
from vqgen.models.vqvae import VQVAE
from vqgen.reports.grids import save_reconstruction_grid
from vqgen.reports.plots import plot_losses
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.context import RunContext
from vqgen.stages.losses import build_losses, check_losses, first_steps, loss_inputs
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.stages.vqvae_objective import SHOWN, VQVAEObjective, reconstructed
from vqgen.stages.warm_start import warm_start
from vqgen.training.metrics_log import read_metrics
from vqgen.training.trainer import Trainer

STAGE = "vqvae"

_CURVES = {
    "loss": "training, with commitment",
    "reconstruction": "training",
    "val_reconstruction": "validation",
}
"""Name of a metric -> its name in the plot of the losses."""

_PARTS = {
    "pixel": "pixels, training",
    "val_pixel": "pixels, validation",
    "perceptual": "features, training",
    "val_perceptual": "features, validation",
    "adversarial": "adversarial",
    "discriminator": "discriminator",
}
"""The same for the plot of other losses than the plain one."""


def train_vqvae(context: RunContext) -> str:
    """Trains the VQ-VAE of a run and writes `vqvae/` and `pipeline/`.

    Returns:
        SHA-256 of the model.

    Raises:
        ConfigError: The recipe is of a baseline, its batches are smaller than the number of processes, its priors
            contrast labels that the images do not have, or its losses need something that is not there.
        CheckpointError: The stage was begun with another recipe or other images.
        DataError: An image cannot be read, or the loss is not finite.
    """
    recipe = context.recipe_with_codes
    images = context.images
    context.check_batch("vqvae.train", recipe.vqvae.train)
    check_label_contrast(recipe, len(images.label_map))  # a mistake in [[priors]] is reported before hours of training
    start = warm_start(context, STAGE)
    inputs = {"images": images.fingerprint, **loss_inputs(context), **start.inputs}

    def work(record: StageRecord) -> StageResult:
        batches = context.image_batches(STAGE, recipe.vqvae.train, augment=recipe.vqvae.augment)
        num_steps = batches.order.num_steps
        objective = make_objective(context, first_steps(context, record) or num_steps)
        session = context.session(STAGE, record.continued_from, start)
        metrics = Trainer(objective, batches, recipe.vqvae.train, num_steps, session).train()
        output = save_stage_model(context, STAGE, objective.model, inputs)
        context.on_main(lambda: _report(context, objective.model))
        return StageResult(output, metrics)

    return run_stage(
        context,
        STAGE,
        inputs,
        work,
        check=lambda: (check_losses(context), start.check()),
        finish=lambda finished: write_pipeline(context, images.label_map, images.indices, finished),
    )


def make_objective(context: RunContext, num_steps: int) -> VQVAEObjective:
    """Builds the VQ-VAE of a run and its objective, with the same first weights in every process.

    Args:
        context: The run.
        num_steps: Steps of the training, as it began.
    """
    recipe = context.recipe_with_codes
    torch.manual_seed(derive_seed(recipe.seed, STAGE, "init"))
    return VQVAEObjective(
        VQVAE(recipe.vqvae_config(num_steps)),
        context.images.validation,
        recipe.data,
        context.compute,
        context.rank,
        context.world_size,
        level_dropout=recipe.vqvae.level_dropout,
        losses=build_losses(context, num_steps),
    )


def _report(context: RunContext, model: VQVAE) -> None:
    """Writes the plot of the losses, and originals beside reconstructions."""
    folder = context.folder / STAGE
    # val_mse is of intensities in [0, 1]. Pixels in [-1, 1] have twice the differences, so four times the squares.
    lines = [
        line | ({"val_reconstruction": 4 * line["val_mse"]} if "val_mse" in line else {})
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    # Other losses have other units: the whole loss would not be comparable, and they have a plot of their own.
    plain = context.recipe.losses.is_plain
    curves = {name: text for name, text in _CURVES.items() if plain or name != "loss"}
    plot_losses(lines, folder / "losses.png", curves, "mean squared error of pixels in [-1, 1]")
    if not plain:
        plot_losses(lines, folder / "loss-parts.png", _PARTS, "loss, unweighted")
    transform = evaluation_transform(context.recipe.data)
    images = context.images.validation
    chosen = torch.stack([transform(images.read(index)) for index in range(min(SHOWN, len(images)))])
    save_reconstruction_grid(chosen, reconstructed(model, chosen, context.compute), folder / "reconstructions.png")
