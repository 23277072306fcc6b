"""Draws for the latent vectors and labels of a request. Each image has its own generator, whatever its batch.

Legend: `b` images of a batch, `d` dimensions of the latent vector, `s` vectors of an image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.runtime.randomness import derive_seed


def image_draws(seed: int, image_indices: Sequence[int], latent_size: int, vectors: int | None = None) -> LatentDraws:
    """Draws the random numbers for the latents of each image, in float64.

    On the CPU, so that every device gets the same numbers.

    Args:
        seed: Seed of the request.
        image_indices: The index of each image of the batch in the request. Image i draws from (seed, i).
        latent_size: The dimensions d.
        vectors: Vectors of each image, s; None for one.

    Returns:
        Draws of shape `(s, b, d)`, or `(b, d)` if `vectors` is None.
    """
    shape = (vectors or 1, latent_size)
    parts = []
    # One image after the other. A single draw for the batch would depend on its size.
    for index in image_indices:
        generator = torch.Generator().manual_seed(derive_seed(seed, "latents", int(index)))
        choice = torch.rand(shape[:1], dtype=torch.float64, generator=generator)
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator)
        parts.append((choice, uniform, torch.randn(shape, dtype=torch.float64, generator=generator)))
    choice, uniform, normal = (torch.stack(drawn, dim=1) for drawn in zip(*parts, strict=True))
    return LatentDraws(choice, uniform, normal) if vectors else LatentDraws(choice[0], uniform[0], normal[0])


def drawn_labels(
    labels: Sequence[int | None], num_classes: int, seed: int, image_indices: Sequence[int]
) -> Int64[Tensor, " b"]:
    """Fills in missing labels: draws one of `num_classes` uniformly, from (seed, i) for image i.

    Args:
        labels: The label of each image, in [0, num_classes); None to draw one.
        num_classes: The number of labels of the model.
        seed: Seed of the request.
        image_indices: The index of each image in the request.

    Returns:
        A label for each image. A missing label is -1 if the model has no labels.
    """
    return torch.tensor(
        [
            (derive_seed(seed, "label", int(index)) % num_classes if num_classes else -1) if label is None else label
            for label, index in zip(labels, image_indices, strict=True)
        ],
        dtype=torch.int64,
    )
