"""Stage one: the training of the VQ-VAE."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from vqgen.data import (
    ImageBatch,
    evaluation_transform,
    image_pixels,
    model_pixels,
)
from vqgen.data.wrong_labels import check_label_contrast
from vqgen.evaluation.pixel_errors import mse_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums
from vqgen.models.vqvae import VQVAE
from vqgen.reports.grids import save_reconstruction_grid
from vqgen.reports.plots import plot_losses
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.context import RunContext
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.training.image_objective import ImageObjective
from vqgen.training.losses import vqvae_loss
from vqgen.training.metrics_log import read_metrics
from vqgen.training.schedule import training_order
from vqgen.training.trainer import Trainer

STAGE = "vqvae"

_CURVES = {
    "loss": "training, with commitment",
    "reconstruction": "training",
    "val_reconstruction": "validation",
}
"""Name of a metric -> its name in the plot of the losses."""

_SHOWN = 32
"""Validation images that are shown beside their reconstructions."""


class VQVAEObjective(ImageObjective):
    """Reconstruction and commitment of a VQ-VAE. After each step the codebooks move."""

    model: VQVAE
    monitor = "mse"

    def forward(self, images: Tensor, labels: Tensor, positions: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of one micro-batch of uint8 images."""
        pixels = _pixels(self.model, images)
        return vqvae_loss(self.model(pixels), pixels, self.model.config.commitment_weight)

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Returns everything but the quantizers, whose Python state changes between steps."""
        model = self.model
        return [*model.encoders, *model.expanders, *model.to_latents, *model.upsamplers, model.decoder]

    def begin_step(self, step: int, seed: int) -> None:
        """Seeds the draws of the quantizers, alike in all processes: they restart the same codes."""
        self.model.seed_step(seed)

    def end_step(self) -> None:
        """Moves the codebooks."""
        self.model.update_codebooks()

    def validation_counts(self, step: int, place: int | float) -> bool:
        """Returns True once latents are quantized: before, the codebooks are random numbers."""
        return step >= self.model.config.quantize_after

    def validate(self) -> dict[str, float]:
        """Computes MSE, PSNR, and usage and perplexity of each level over the whole validation set."""
        return validate_vqvae(self.model, self._batches(), self._compute)


@torch.no_grad()
def validate_vqvae(model: VQVAE, batches: Iterator[ImageBatch], compute: Compute) -> dict[str, float]:
    """Computes reconstruction errors and code usage over all batches of all processes.

    Args:
        model: The VQ-VAE.
        batches: This process's share of the images.
        compute: Device and dtype of the computation.

    Returns:
        mse (intensities in [0, 1]), psnr (dB, mean over images), usage_LEVEL, perplexity_LEVEL.
    """
    sums = ReconstructionSums(model.levels, model.config.codebook_size, _codebook(model).device)
    for batch in batches:
        images = _pixels(model, batch.images)
        with compute.autocast():
            output = model(images)
        sums.add(mse_per_image(output.reconstruction, images), dict(output.codes.grids))
    return sums.result()


def train_vqvae(context: RunContext) -> str:
    """Trains the VQ-VAE of a run and writes `vqvae/` and `pipeline/`.

    Returns:
        SHA-256 of the model.

    Raises:
        ConfigError: The recipe is of a baseline, its batches are smaller than the number of processes, or its priors
            contrast labels that the images do not have.
        CheckpointError: The stage was begun with another recipe or other images.
        DataError: An image cannot be read, or the loss is not finite.
    """
    recipe = context.recipe_with_codes
    images = context.images
    context.check_batch("vqvae.train", recipe.vqvae.train)
    check_label_contrast(recipe, len(images.label_map))  # a mistake in [[priors]] is reported before hours of training
    inputs = {"images": images.fingerprint}

    def work(record: StageRecord) -> StageResult:
        batches = context.image_batches(STAGE, recipe.vqvae.train, augment=recipe.vqvae.augment)
        num_steps = batches.order.num_steps
        torch.manual_seed(derive_seed(recipe.seed, STAGE, "init"))  # the same weights in every process
        model = VQVAE(recipe.vqvae_config(_first_steps(context, record) or num_steps))
        objective = VQVAEObjective(
            model, images.validation, recipe.data, context.compute, context.rank, context.world_size
        )
        session = context.session(STAGE, record.continued_from)
        metrics = Trainer(objective, batches, recipe.vqvae.train, num_steps, session).train()
        output = save_stage_model(context, STAGE, model, inputs)
        context.on_main(lambda: _report(context, model))
        return StageResult(output, metrics)

    return run_stage(
        context,
        STAGE,
        inputs,
        work,
        finish=lambda finished: write_pipeline(context, images.label_map, images.indices, finished),
    )


def _first_steps(context: RunContext, record: StageRecord) -> int | None:
    """Returns the steps of a training before it got more of them; None if it has those with which it began.

    They bound the steps without quantization. A longer training would otherwise stop to quantize in its middle.
    """
    if record.first_length is None:
        return None
    train = record.first_length.applied(context.recipe_with_codes.vqvae.train)
    # The seed of the order does not matter here.
    return training_order(train, len(context.images.train), context.recipe.seed, context.world_size).num_steps


def _report(context: RunContext, model: VQVAE) -> None:
    """Writes the plot of the losses, and originals beside reconstructions."""
    folder = context.folder / STAGE
    # val_mse is of intensities in [0, 1]. Pixels in [-1, 1] have twice the differences, so four times the squares.
    lines = [
        line | ({"val_reconstruction": 4 * line["val_mse"]} if "val_mse" in line else {})
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    plot_losses(lines, folder / "losses.png", _CURVES, "mean squared error of pixels in [-1, 1]")
    transform = evaluation_transform(context.recipe.data)
    images = context.images.validation
    chosen = torch.stack([transform(images.read(index)) for index in range(min(_SHOWN, len(images)))])
    with torch.no_grad(), context.compute.autocast():
        reconstruction = model(_pixels(model, chosen)).reconstruction
    save_reconstruction_grid(chosen, image_pixels(reconstruction), folder / "reconstructions.png")


def _pixels(model: VQVAE, images: Tensor) -> Tensor:
    """Prepares uint8 images for the model."""
    codebook = _codebook(model)
    return model_pixels(images, codebook.device, codebook.dtype)


def _codebook(model: VQVAE) -> Tensor:
    """Returns a tensor that has the model's device and dtype."""
    codebook = model.quantizers[0].codebook
    assert isinstance(codebook, Tensor)
    return codebook
