"""The first stage of a baseline: the training of its autoencoder. The mixtures of a plain one are fitted at the end."""

from collections.abc import Iterable, Mapping

import torch
from PIL import Image
from torch import Tensor, nn

from vqgen.config import AutoencoderConfig, BaselineRecipe
from vqgen.data import image_pixels, model_pixels
from vqgen.errors import ConfigError
from vqgen.evaluation.pixel_errors import mse_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums
from vqgen.models.autoencoders.autoencoder import Autoencoder
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.autoencoders.latent_model import LatentModel, VariationalModel
from vqgen.reports.grids import reconstruction_grid
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.assemble import write_pipeline
from vqgen.stages.autoencoder.latents import encode_images
from vqgen.stages.autoencoder.mixtures import fit_mixtures
from vqgen.stages.autoencoder.pictures import SHOWN, save_pictures
from vqgen.stages.context import RunContext
from vqgen.stages.losses import build_losses, check_losses, first_steps, loss_inputs
from vqgen.stages.records import StageRecord
from vqgen.stages.stage import StageResult, run_stage, save_stage_model
from vqgen.stages.warm_start import warm_start
from vqgen.training.image_losses import DistanceSums, last_kernel
from vqgen.training.image_objective import ImageObjective
from vqgen.training.trainer import Trainer

STAGE = "autoencoder"


class AutoencoderObjective(ImageObjective):
    """The loss of a baseline."""

    model: LatentModel
    monitor = "loss"

    def forward(self, images: Tensor, labels: Tensor, positions: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of one micro-batch of uint8 images."""
        pixels = model_pixels(images, images.device, self.model.dtype)
        if self.losses is None:
            return self.model.loss(pixels, labels)
        found = self.model.training_pass(pixels, labels)
        # A variational model keeps its bound. Of a plain autoencoder the losses replace the squared error.
        own = found.loss if isinstance(self.model, VariationalModel) else None
        losses = self.losses(self.model.image_of(found.output), pixels, last_kernel(self.model.decoder), own)
        return losses.loss, {"loss": losses.value, **losses.parts, **found.parts}

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Returns the whole objective; with losses the encoder alone, as they may differentiate the decoder twice."""
        return [self] if self.losses is None else [self.model.encoder]

    def validate(self) -> dict[str, float]:
        """Computes loss and reconstruction errors over the whole validation set, and the bound of a variational model.

        Returns:
            loss (as in training, without an adversary), mse (intensities in [0, 1]) and psnr (dB); of a variational
            model also elbo, distortion and rate (nats per image); with losses their distance and its parts.
        """
        # The bound depends on draws. With the same draws in every validation, weights can be compared.
        torch.manual_seed(derive_seed(self._rank, "validation"))
        device = self.model.encoder.output.weight.device
        errors = ReconstructionSums((), 1, device)
        distances = DistanceSums(self.losses, device)
        bounds = torch.zeros(3, dtype=torch.float64, device=device)  # distortion, rate, images
        for batch in self._batches():
            images = model_pixels(batch.images, device, self.model.dtype)
            labels = batch.labels.to(device)
            with self._compute.autocast():
                decoded = self.model.decode(self.model.encode(images, labels), labels)
                errors.add(mse_per_image(decoded, images), {})
                distances.add(decoded, images)
                if isinstance(self.model, VariationalModel):
                    bound = self.model.bound(images, labels, self.model.config.monte_carlo_samples)
                    count = torch.tensor(float(len(images)), dtype=torch.float64, device=device)
                    bounds += torch.stack([bound.distortion.double().sum(), bound.rate.double().sum(), count])
        metrics = errors.result() | distances.result()
        distance = metrics.get("distance", 0.0)
        if not isinstance(self.model, VariationalModel):
            # The training loss is of pixels in [-1, 1]: twice the differences of intensities, four times the squares.
            return {"loss": 4 * metrics["mse"] if self.losses is None else distance} | metrics
        found = _bound_metrics(bounds, self.model.config)
        return found | {"loss": found["loss"] + distance} | metrics

    @torch.no_grad()
    def pictures(self) -> Mapping[str, Image.Image]:
        """Draws the first validation images beside their reconstructions."""
        first = self._first_images(SHOWN)
        images = model_pixels(first.images, self.model.encoder.output.weight.device, self.model.dtype)
        labels = first.labels.to(images.device)
        with self._compute.autocast():
            decoded = self.model.decode(self.model.encode(images, labels), labels)
        return {"reconstructions": reconstruction_grid(first.images, image_pixels(decoded))}


def _bound_metrics(bounds: Tensor, config: AutoencoderConfig) -> dict[str, float]:
    """Divides sums of the bound into means over the images of all processes.

    Args:
        bounds: `(3,)`, the sums of this process: distortion and rate in nats, and the number of images.
        config: The variational model.
    """
    distortion_sum, rate_sum, count = all_reduce_sum(bounds).tolist()
    distortion = distortion_sum / count
    rate = rate_sum / count
    # The training loss is the bound per number of the image, so that its scale does not depend on the image's size.
    loss = (distortion + config.beta * rate) / (config.image_channels * config.image_size**2)
    return {"loss": loss, "elbo": -distortion - rate, "distortion": distortion, "rate": rate}


def train_autoencoder(context: RunContext) -> str:
    """Trains the baseline of a run and writes `autoencoder/` and `pipeline/`.

    Returns:
        SHA-256 of the model.

    Raises:
        ConfigError: The recipe is not of a baseline, its batches are smaller than the number of processes, or its
            losses need something that is not there.
        CheckpointError: The stage was begun with another recipe or other images.
        DataError: An image cannot be read, or the loss is not finite.
    """
    recipe = _baseline_recipe(context)
    images = context.images
    train = recipe.autoencoder.train
    context.check_batch("autoencoder.train", train)
    start = warm_start(context, STAGE, images.label_map)
    inputs = {"images": images.fingerprint, **loss_inputs(context), **start.inputs}

    def work(record: StageRecord) -> StageResult:
        batches = context.image_batches(STAGE, train, augment=recipe.autoencoder.augment)
        torch.manual_seed(derive_seed(recipe.seed, STAGE, "init"))  # the same weights in every process
        model = build_baseline(recipe.autoencoder_config(len(images.label_map)))
        losses = build_losses(context, first_steps(context, record) or batches.order.num_steps)
        objective = AutoencoderObjective(
            model, images.validation, recipe.data, context.compute, context.rank, context.world_size, losses=losses
        )
        session = context.session(STAGE, record.continued_from, start)
        metrics = Trainer(objective, batches, train, batches.order.num_steps, session).train()
        if isinstance(model, Autoencoder):
            # Only the main process saves the model, so only its copy needs the mixtures.
            context.on_main(lambda: _fit_mixtures(context, model))
        output = save_stage_model(context, STAGE, model, inputs)
        context.on_main(lambda: save_pictures(context, model))
        return StageResult(output, metrics)

    return run_stage(
        context,
        STAGE,
        inputs,
        work,
        check=lambda: (check_losses(context), start.check()),
        finish=lambda finished: write_pipeline(context, images.label_map, images.indices, finished),
    )


def _baseline_recipe(context: RunContext) -> BaselineRecipe:
    if not isinstance(context.recipe, BaselineRecipe):
        raise ConfigError(
            f"recipe {context.recipe.name!r}: should have [autoencoder] for this command, found [vqvae]; "
            "`vqgen train-vqvae` trains its first stage"
        )
    return context.recipe


def _fit_mixtures(context: RunContext, model: Autoencoder) -> None:
    """Fits the mixtures of a plain autoencoder to the latents of the training images, without augmentation."""
    encoded = [(latents, batch.labels) for batch, latents in encode_images(context, model, context.images.train)]
    latents, labels = (torch.cat(part) for part in zip(*encoded, strict=True))
    seed = derive_seed(context.recipe.seed, STAGE)
    model.set_mixtures(fit_mixtures(latents, labels, model.config, seed))
