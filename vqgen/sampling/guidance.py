"""Guidance: the logits with a label, moved away from those without one, or from those of an earlier prior.

    prior, label      -->  logits  --+
    prior, no label   -->  logits  --+--> guided_logits --> LevelParams.apply
    guide, label      -->  logits  --+

Legend: `b` images, `c` channels, `h w` grid, `k` codebook entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.level_params import LevelParams


@dataclass(frozen=True)
class Guide:
    """The prior of a level as it was early in its training, from which autoguidance leads away.

    Attributes:
        prior: Of the same level, sizes and order.
        condition: What its `encode_condition` makes of the coarser codes of the images to sample.
    """

    prior: PixelCNN
    condition: Float[Tensor, "b c h w"] | None


@dataclass(frozen=True)
class ForwardPass:
    """What one network computes in every step.

    Attributes:
        prior: The network.
        labels: `(copies * b,)`: those of the images, then, with classifier-free guidance, as many null labels.
        condition: One per label.
        copies: How often each image is evaluated.
    """

    prior: PixelCNN
    labels: Int[Tensor, " copies*b"]
    condition: Float[Tensor, "copies*b c h w"] | None
    copies: int = 1


def forward_passes(
    prior: PixelCNN,
    labels: Int[Tensor, " b"],
    condition: Float[Tensor, "b c h w"] | None,
    params: LevelParams,
    guide: Guide | None,
) -> list[ForwardPass]:
    """What a step has to evaluate so that `guided_logits` has its logits, in its order.

    Raises:
        ValueError: The parameters ask for a guide, and there is none.
    """
    of_prior = ForwardPass(prior, labels, condition)
    if params.is_guided:
        both = torch.cat([labels, torch.full_like(labels, prior.null_label)])
        of_prior = ForwardPass(prior, both, None if condition is None else torch.cat([condition, condition]), copies=2)
    if not params.is_autoguided:
        return [of_prior]
    if guide is None:
        raise ValueError(f"guide should be given at autoguidance_scale {params.autoguidance_scale:g}, found None")
    return [of_prior, ForwardPass(guide.prior, labels, guide.condition)]


def guided_logits(logits: Sequence[Float[Tensor, "*b k"]], params: LevelParams) -> Float[Tensor, "*b k"]:
    """Combines logits to those of p(code | label) times two ratios, unnormalised.

    The ratios are (p(code | label) / p(code))^(s - 1) and (p(code | label) / g(code | label))^(a - 1) for a guide g. At
    1 a scale changes nothing. Above 1 s makes images surer to be of their label and less varied, and a leads them away
    from what the guide would rather draw.

    Args:
        logits: Those given the label; then, where the parameters ask for them, those given the null label, and those of
            the guide.
        params: The scales: s is `guidance_scale`, a `autoguidance_scale`.

    Source: classifier-free guidance is equation 6 of Ho and Salimans 2022, arXiv 2207.12598, with s = 1 + w;
    autoguidance is section 4 of Karras et al. 2024, arXiv 2406.02507. Here the scores are logits.
    """
    conditional, *others = logits
    wanted = conditional
    if params.is_guided:
        unconditional = others.pop(0)
        wanted = unconditional + params.guidance_scale * (conditional - unconditional)
    if params.is_autoguided:
        wanted = wanted + (params.autoguidance_scale - 1) * (conditional - others.pop(0))
    return wanted
