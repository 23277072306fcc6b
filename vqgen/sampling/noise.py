"""Noise: every image of a request has a generator of its own, so a batch never changes a picture.

Legend: `b` images of a batch, `k` codebook entries.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from vqgen.randomness import derive_seed


class ImageNoise:
    """Standard Gumbel draws, image i from a generator seeded with (seed, i).

    One object serves all levels of a batch, coarse to fine, and within a level the steps of the order: image i meets
    the same draws in any batch. Drawn on the CPU, whatever the device.

    Args:
        seed: Seed of the request.
        image_indices: Places of the batch's images in the flattened request.
    """

    def __init__(self, seed: int, image_indices: Sequence[int]) -> None:
        self._generators = [
            torch.Generator().manual_seed(derive_seed(seed, "image", int(index))) for index in image_indices
        ]

    def __len__(self) -> int:
        return len(self._generators)

    def gumbel(self, num_positions: int, num_codes: int) -> Float64[Tensor, "b num_positions k"]:
        """Draws -log(-log(u)), u uniform in (0, 1), for the positions of one step.

        Args:
            num_positions: Positions of the step.
            num_codes: Entries `k` of the codebook.

        Returns:
            Finite draws in float64: a maximum over many codes lives in the tail, which float32 cuts off near 17.

        Source: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 3).
        """
        uniform = torch.empty(len(self), num_positions, num_codes, dtype=torch.float64)
        for image, generator in zip(uniform, self._generators, strict=True):
            image.uniform_(generator=generator)
        uniform.clamp_(min=torch.finfo(torch.float64).tiny)  # a zero would give -inf
        return uniform.log_().neg_().log_().neg_()
