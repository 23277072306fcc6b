"""Classifier-free guidance: the logits with a label, moved away from those without one.

Legend: `b` images, `c` channels, `h w` grid, `k` codebook entries.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN


def guided_logits(
    conditional: Float[Tensor, "*b k"], unconditional: Float[Tensor, "*b k"], scale: float
) -> Float[Tensor, "*b k"]:
    """Combines logits to those of p(code | label)^scale p(code)^(1 - scale), unnormalised.

    Args:
        conditional: Logits given the label.
        unconditional: Logits given the null label.
        scale: 0 has no label, 1 changes nothing, above 1 images are surer to be of their label and less varied.

    Source: Ho and Salimans 2022, arXiv 2207.12598, equation 6, with scale = 1 + w: here the scores are logits.
    """
    return unconditional + scale * (conditional - unconditional)


def beside_null(
    prior: PixelCNN, labels: Int[Tensor, " b"], condition: Float[Tensor, "b c h w"] | None
) -> tuple[Int[Tensor, " 2*b"], Float[Tensor, "2*b c h w"] | None]:
    """Doubles a batch: its labels, then null labels, both with the same coarser codes."""
    both = torch.cat([labels, torch.full_like(labels, prior.null_label)])
    return both, None if condition is None else torch.cat([condition, condition])
