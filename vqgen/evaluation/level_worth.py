"""The share of a level in decoded images."""

import torch

from vqgen.codes import Codes
from vqgen.models.levels_alone import with_levels_alone
from vqgen.models.vqvae import VQVAE

_BATCH = 64
"""Images decoded at a time."""


@torch.no_grad()
def change_without_level(vqvae: VQVAE, codes: Codes, level: str) -> float:
    """Measures how much decoded images change if the mean of its codebook stands for a level.

    Args:
        vqvae: The VQ-VAE, in evaluation mode.
        codes: Codes of at least one image.
        level: Name of the level.

    Returns:
        The root of the mean square change of a pixel, in intensities from 0 to 255. Near 0 the decoder does not need
        the level.
    """
    counts = codes.grids[level].flatten().bincount(minlength=vqvae.config.codebook_size)
    others = [name for name in vqvae.levels if name != level]
    without = with_levels_alone(vqvae, others, {level: counts})
    squares = [
        # From [-1, 1] to [0, 255] a difference grows by 127.5.
        ((vqvae.decode(part) - without.decode(part)) * 127.5).square().double().mean(dim=(1, 2, 3))
        for part in (codes[begin : begin + _BATCH] for begin in range(0, len(codes), _BATCH))
    ]
    return float(torch.cat(squares).mean().sqrt())
