"""The latents of a run's images, under a baseline that is being trained.

Legend: `b` images of a batch, `d` dimensions of the latent vector.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vqgen.data import ImageBatch, ImageSet, evaluation_batches, evaluation_transform, to_float
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.stages.context import RunContext

_BATCH_SIZE = 64


@torch.no_grad()
def encode_images(context: RunContext, model: LatentModel, images: ImageSet) -> Iterator[tuple[ImageBatch, Tensor]]:
    """Encodes images as they are, without augmentation, in this process alone.

    Yields:
        Each batch, and its latents `(b, d)` in the weights' number format, on the CPU.
    """
    weight = model.encoder.output.weight
    for batch in evaluation_batches(images, evaluation_transform(context.recipe.data), batch_size=_BATCH_SIZE):
        with context.compute.autocast():
            pixels = to_float(batch.images.to(weight.device)).to(weight.dtype)
            latents = model.encode(pixels, batch.labels.to(weight.device))
        yield batch, latents.to(weight.dtype).cpu()
