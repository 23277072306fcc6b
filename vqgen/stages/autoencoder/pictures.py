"""The pictures of a trained baseline: losses, reconstructions and, for two latents, the plane that they span."""

import torch
from torch import Tensor

from vqgen.data import image_pixels
from vqgen.models.autoencoders.latent_model import LatentModel, VariationalModel
from vqgen.models.autoencoders.vae import VAE
from vqgen.reports.grids import save_reconstruction_grid
from vqgen.reports.latent_pictures import plot_latents, save_manifold
from vqgen.reports.plots import plot_losses
from vqgen.stages.autoencoder.latents import encode_images
from vqgen.stages.context import RunContext
from vqgen.training.metrics_log import read_metrics

SHOWN = 32
"""Validation images that are shown beside their reconstructions."""

_CURVES = {"loss": "training", "val_loss": "validation"}
"""Name of a metric -> its name in the plot of the losses."""


@torch.no_grad()
def save_pictures(context: RunContext, model: LatentModel) -> None:
    """Writes losses.png and reconstructions.png, and for two latents latents.png and manifold.png.

    Args:
        context: The run. Its folder has the metrics of the training.
        model: The trained baseline.
    """
    folder = context.folder / "autoencoder"
    unit = "mean squared error of pixels in [-1, 1]"
    if isinstance(model, VariationalModel):
        unit = "distortion + beta * rate, nats per number of the image"
    if not context.recipe.losses.is_plain:
        unit = "loss with all parts; of the validation without the adversary"
    plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, unit)
    encoded = encode_images(context, model, context.images.validation)
    images, labels, latents = (
        torch.cat(part)
        for part in zip(*((batch.images, batch.labels, latents) for batch, latents in encoded), strict=True)
    )
    decoded = _decode(context, model, latents[:SHOWN], labels[:SHOWN])
    save_reconstruction_grid(images[:SHOWN], decoded, folder / "reconstructions.png")
    if model.config.latent_size == 2:
        plot_latents(latents, labels, context.images.label_map.names, folder / "latents.png")
        # The manifold covers the prior of a VAE with one decoder for all labels. Other baselines have another prior, or
        # a plane for each label.
        if isinstance(model, VAE) and not model.config.label_features:
            save_manifold(
                lambda points: _decode(context, model, points, torch.full((len(points),), -1)), folder / "manifold.png"
            )


def _decode(context: RunContext, model: LatentModel, latents: Tensor, labels: Tensor) -> Tensor:
    """Decodes latents to uint8 images on the CPU."""
    weight = model.encoder.output.weight
    with context.compute.autocast():
        decoded = model.decode(latents.to(weight), labels.to(weight.device))
    return image_pixels(decoded)
