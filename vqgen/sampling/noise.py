"""Noise: every image of a request has a generator of its own, so a batch never changes a picture.

Legend: `b` images of a batch, `k` codebook entries.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from vqgen.runtime.randomness import derive_seed

POSITIONS_AT_ONCE = 512
"""Positions whose noise is drawn at once. A fixed number: on an accelerator the draws depend on it."""


class ImageNoise:
    """Standard Gumbel draws, image i from a generator seeded with (seed, i).

    One object serves all levels of a batch, coarse to fine, and within a level the steps of the order: image i meets
    the same draws in any batch, whatever the sampler. A CPU and a GPU draw other numbers.

    Args:
        seed: Seed of the request.
        image_indices: Places of the batch's images in the flattened request.
        device: Where to sample; what has no float64 draws on the CPU.
    """

    def __init__(self, seed: int, image_indices: Sequence[int], device: torch.device | None = None) -> None:
        where = device if device is not None and device.type == "cuda" else torch.device("cpu")
        self._generators = [
            torch.Generator(where).manual_seed(derive_seed(seed, "image", int(index))) for index in image_indices
        ]

    def __len__(self) -> int:
        return len(self._generators)

    def of_level(self, num_positions: int, num_codes: int) -> "LevelNoise":
        """The draws of the next level: standard Gumbel variables for `num_positions` of `num_codes` entries each."""
        return LevelNoise(self._generators, num_positions, num_codes)


class LevelNoise:
    """Draws of one level, in order time; made by `ImageNoise.of_level`."""

    def __init__(self, generators: Sequence[torch.Generator], num_positions: int, num_codes: int) -> None:
        self._generators, self._left = generators, num_positions
        shape = (len(generators), 0, num_codes)
        self._drawn = torch.empty(shape, dtype=torch.float64, device=generators[0].device)

    def gumbel(self, num_positions: int) -> Float64[Tensor, "b num_positions k"]:
        """Returns the draws -log(-log(u)), u uniform in (0, 1), of the next positions.

        Args:
            num_positions: Positions of the step.

        Returns:
            Finite draws in float64: a maximum over many codes lives in the tail, which float32 cuts off near 17.

        Raises:
            ValueError: The level has fewer positions left.

        Source: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 3).
        """
        while self._drawn.shape[1] < num_positions:
            if self._left == 0:
                raise ValueError(f"num_positions should be at most {self._drawn.shape[1]}, found {num_positions}")
            size = min(POSITIONS_AT_ONCE, self._left)
            self._drawn, self._left = torch.cat([self._drawn, self._draw(size)], dim=1), self._left - size
        drawn, self._drawn = self._drawn.split([num_positions, self._drawn.shape[1] - num_positions], dim=1)
        return drawn

    def _draw(self, size: int) -> Float64[Tensor, "b size k"]:
        uniform = self._drawn.new_empty(len(self._drawn), size, self._drawn.shape[2])
        for image, generator in zip(uniform, self._generators, strict=True):
            image.uniform_(generator=generator)
        uniform.clamp_(min=torch.finfo(torch.float64).tiny)  # a zero would give -inf
        return uniform.log_().neg_().log_().neg_()
