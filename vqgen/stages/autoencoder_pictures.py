"""The pictures of a trained baseline: losses, reconstructions and, of two latents, the plane that they span."""

import torch
from torch import Tensor

from vqgen.data import evaluation_batches, evaluation_transform, to_float, to_uint8
from vqgen.latent_pictures import plot_latents, save_manifold
from vqgen.metrics_log import read_metrics
from vqgen.models.latent_model import LatentModel, VariationalModel
from vqgen.models.vae import VAE
from vqgen.report import plot_losses, save_reconstruction_grid
from vqgen.stages.context import RunContext

_BATCH_SIZE = 64

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
    images, labels, latents = _encode_validation(context, model)
    decoded = _decode(context, model, latents[:_SHOWN], labels[:_SHOWN])
    save_reconstruction_grid(images[:_SHOWN], decoded, folder / "reconstructions.png")
    if model.config.latent_size == 2:
        plot_latents(latents, labels, context.images.label_map.names, folder / "latents.png")
        if isinstance(model, VAE) and not model.config.label_features:
            save_manifold(
                lambda points: _decode(context, model, points, torch.full((len(points),), -1)), folder / "manifold.png"
            )


def _encode_validation(context: RunContext, model: LatentModel) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and latents of the validation split, on the CPU."""
    parts, weight = [], model.encoder.output.weight
    batches = evaluation_batches(
        context.images.validation, evaluation_transform(context.recipe.data), batch_size=_BATCH_SIZE
    )
    for batch in batches:
        with context.compute.autocast():
            pixels = to_float(batch.images.to(weight.device)).to(weight.dtype)
            latents = model.encode(pixels, batch.labels.to(weight.device))
        parts.append((batch.images, batch.labels, latents.to(weight.dtype).cpu()))
    images, labels, latents = (torch.cat(part) for part in zip(*parts, strict=True))
    return images, labels, latents


def _decode(context: RunContext, model: LatentModel, latents: Tensor, labels: Tensor) -> Tensor:
    """uint8 images, on the CPU."""
    with context.compute.autocast():
        decoded = model.decode(latents.to(model.encoder.output.weight), labels.to(model.encoder.output.weight.device))
    return to_uint8(decoded.float()).cpu()
