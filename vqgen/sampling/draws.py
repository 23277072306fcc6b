"""Draws for latent vectors: every image of a request has a generator of its own, so a batch never changes a picture.

Legend: `b` images of a batch, `d` dimensions of the latent vector, `s` vectors of an image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.runtime.randomness import derive_seed


def image_draws(seed: int, image_indices: Sequence[int], latent_size: int, vectors: int | None = None) -> LatentDraws:
    """Draws for the latents of each image, in float64, on the CPU whatever the device.

    Args:
        seed: Seed of the request.
        image_indices: Places of the batch's images in the request; image i draws from (seed, i).
        latent_size: d.
        vectors: s, with which the draws are `(s, b, d)`; None for one vector an image, `(b, d)`.
    """
    shape = (vectors or 1, latent_size)
    parts = []
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
    """Labels to sample: for None one of all, each as likely, drawn from (seed, i); -1 where there are no labels."""
    return torch.tensor(
        [
            (derive_seed(seed, "label", int(index)) % num_classes if num_classes else -1) if label is None else label
            for label, index in zip(labels, image_indices, strict=True)
        ],
        dtype=torch.int64,
    )
