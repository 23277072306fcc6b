"""The latents of a run's images under its baseline.

Legend: `b` batch, `d` dimensions of the latent vector.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vqgen.data import ImageBatch, ImageSet, evaluation_batches, evaluation_transform, model_pixels
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.stages.context import RunContext

_BATCH_SIZE = 64
"""Images encoded at a time."""


def encode_images(context: RunContext, model: LatentModel, images: ImageSet) -> Iterator[tuple[ImageBatch, Tensor]]:
    """Encodes all images in this process, without augmentation.

    Args:
        context: The run.
        model: The baseline.
        images: The images.

    Yields:
        Each batch, and its latents `(b, d)` on the CPU, in the dtype of the weights.
    """
    device = model.encoder.output.weight.device
    for batch in evaluation_batches(images, evaluation_transform(context.recipe.data), batch_size=_BATCH_SIZE):
        with torch.no_grad(), context.compute.autocast():
            latents = model.encode(model_pixels(batch.images, device, model.dtype), batch.labels.to(device))
        # Under autocast latents may be bfloat16. The mixtures, and the decoder, take the dtype of the weights.
        yield batch, latents.to(model.dtype).cpu()
