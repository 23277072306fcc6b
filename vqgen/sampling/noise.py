"""Noise for sampling codes. Each image of a request has its own generator, so its draws do not depend on the batch.

Legend: `b` images of a batch, `k` codebook entries.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from vqgen.runtime.randomness import derive_seed

POSITIONS_AT_ONCE = 512
"""Positions whose noise is drawn together. A fixed number, because on an accelerator the draws depend on it."""


class ImageNoise:
    """Standard Gumbel draws, image i from a generator seeded with (seed, i).

    One object serves all levels of a batch, coarse to fine. Within a level it draws in order time. So image i gets the
    same draws in every batch and from every sampler. A GPU draws other numbers than a CPU.

    Args:
        seed: Seed of the request.
        image_indices: The index of each image of the batch in the flattened request.
        device: The device of the sampler; None for the CPU. Draws are made on the CPU unless it is a CUDA device,
            because other accelerators may lack float64.
    """

    def __init__(self, seed: int, image_indices: Sequence[int], device: torch.device | None = None) -> None:
        place = device if device is not None and device.type == "cuda" else torch.device("cpu")
        self._generators = [
            torch.Generator(place).manual_seed(derive_seed(seed, "image", int(index))) for index in image_indices
        ]

    def __len__(self) -> int:
        return len(self._generators)

    def of_level(self, num_positions: int, num_codes: int) -> "LevelNoise":
        """Starts the draws of the next level.

        Args:
            num_positions: Positions of the level.
            num_codes: Codebook entries of each position.
        """
        return LevelNoise(self._generators, num_positions, num_codes)


class LevelNoise:
    """The draws of one level, in order time. Made by `ImageNoise.of_level`."""

    def __init__(self, generators: Sequence[torch.Generator], num_positions: int, num_codes: int) -> None:
        self._generators = generators
        self._left = num_positions
        shape = (len(generators), 0, num_codes)
        self._drawn = torch.empty(shape, dtype=torch.float64, device=generators[0].device)

    def gumbel(self, num_positions: int) -> Float64[Tensor, "b num_positions k"]:
        """Returns the draws -log(-log(u)), u uniform in (0, 1), of the next positions.

        Args:
            num_positions: Positions of the step.

        Returns:
            Finite draws in float64. The maximum over many codes lies in the tail, which float32 cuts off near 17.

        Raises:
            ValueError: The level has fewer positions left.

        Source: the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 3).
        """
        # Chunks of one size, cut into steps afterwards. On an accelerator the numbers depend on the size of a draw, and
        # steps differ in size from order to order. One large draw is also faster than many small ones.
        while self._drawn.shape[1] < num_positions:
            if self._left == 0:
                raise ValueError(f"num_positions should be at most {self._drawn.shape[1]}, found {num_positions}")
            size = min(POSITIONS_AT_ONCE, self._left)
            drawn = self._draw(size)
            # Most often nothing is left of the last chunk, and nothing has to be copied.
            self._drawn = torch.cat([self._drawn, drawn], dim=1) if self._drawn.shape[1] else drawn
            self._left -= size
        taken, self._drawn = self._drawn.split([num_positions, self._drawn.shape[1] - num_positions], dim=1)
        return taken

    def _draw(self, size: int) -> Float64[Tensor, "b size k"]:
        uniform = self._drawn.new_empty(len(self._drawn), size, self._drawn.shape[2])
        for image, generator in zip(uniform, self._generators, strict=True):
            image.uniform_(generator=generator)
        uniform.clamp_(min=torch.finfo(torch.float64).tiny)  # 0 would give -inf; 1 is never drawn
        return uniform.log_().neg_().log_().neg_()
