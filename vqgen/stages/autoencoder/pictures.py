"""The pictures of a trained baseline: losses, reconstructions and, of two latents, the plane that they span."""

import torch
from torch import Tensor

from vqgen.data import to_uint8
from vqgen.models.autoencoders.latent_model import LatentModel, VariationalModel
from vqgen.models.autoencoders.vae import VAE
from vqgen.reports.grids import save_reconstruction_grid
from vqgen.reports.latent_pictures import plot_latents, save_manifold
from vqgen.reports.plots import plot_losses
from vqgen.stages.autoencoder.latents import encode_images
from vqgen.stages.context import RunContext
from vqgen.training.metrics_log import read_metrics

_SHOWN = 32
"""Images beside their reconstructions."""

_CURVES = {"loss": "training", "val_loss": "validation"}


@torch.no_grad()
def save_pictures(context: RunContext, model: LatentModel) -> None:
    """Writes losses.png, reconstructions.png and, of two latents, latents.png and manifold.png."""
    folder = context.folder / "autoencoder"
    unit = "mean squared error of pixels in [-1, 1]"
    if isinstance(model, VariationalModel):
        unit = "distortion + beta * rate, nats per number of the image"
    plot_losses(read_metrics(folder / "metrics.jsonl"), folder / "losses.png", _CURVES, unit)
    encoded = encode_images(context, model, context.images.validation)
    images, labels, latents = (
        torch.cat(part)
        for part in zip(*((batch.images, batch.labels, latents) for batch, latents in encoded), strict=True)
    )
    decoded = _decode(context, model, latents[:_SHOWN], labels[:_SHOWN])
    save_reconstruction_grid(images[:_SHOWN], decoded, folder / "reconstructions.png")
    if model.config.latent_size == 2:
        plot_latents(latents, labels, context.images.label_map.names, folder / "latents.png")
        if isinstance(model, VAE) and not model.config.label_features:
            save_manifold(
                lambda points: _decode(context, model, points, torch.full((len(points),), -1)), folder / "manifold.png"
            )


def _decode(context: RunContext, model: LatentModel, latents: Tensor, labels: Tensor) -> Tensor:
    """uint8 images, on the CPU."""
    with context.compute.autocast():
        decoded = model.decode(latents.to(model.encoder.output.weight), labels.to(model.encoder.output.weight.device))
    return to_uint8(decoded.float()).cpu()
