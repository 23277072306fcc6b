"""Guidance moves the logits with a label away from the logits without one, or from the logits of an earlier prior.

    prior, label      -->  logits  --+
    prior, no label   -->  logits  --+--> guided_logits --> LevelParams.apply
    guide, label      -->  logits  --+

Legend: `b` images, `e` evaluations of a network (`copies * b`), `c` channels, `h w` grid, `k` codebook entries.
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
    """An early state of a level's prior, from which autoguidance leads away.

    Attributes:
        prior: A prior of the same level, sizes and order.
        condition: The result of its `encode_condition` for the coarser codes of the images to sample.
    """

    prior: PixelCNN
    condition: Float[Tensor, "b c h w"] | None


@dataclass(frozen=True)
class ForwardPass:
    """The inputs of one network, the same at every step.

    Attributes:
        prior: The network.
        labels: `(e,)`: the labels of the images; with classifier-free guidance, `b` null labels follow.
        condition: Features for each label.
        copies: Evaluations of each image.
    """

    prior: PixelCNN
    labels: Int[Tensor, " e"]
    condition: Float[Tensor, "e c h w"] | None
    copies: int = 1


def forward_passes(
    prior: PixelCNN,
    labels: Int[Tensor, " b"],
    condition: Float[Tensor, "b c h w"] | None,
    params: LevelParams,
    guide: Guide | None,
) -> list[ForwardPass]:
    """Lists the networks that a step evaluates, in the order of the logits that `guided_logits` takes.

    Raises:
        ValueError: The parameters ask for a guide, and `guide` is None.
    """
    of_prior = ForwardPass(prior, labels, condition)
    if params.is_guided:
        # As one batch of twice the size: the weights are read once for both.
        both = torch.cat([labels, torch.full_like(labels, prior.null_label)])
        of_prior = ForwardPass(prior, both, None if condition is None else torch.cat([condition, condition]), copies=2)
    if not params.is_autoguided:
        return [of_prior]
    if guide is None:
        raise ValueError(f"guide should be given at autoguidance_scale {params.autoguidance_scale:g}, found None")
    return [of_prior, ForwardPass(guide.prior, labels, guide.condition)]


def guided_logits(logits: Sequence[Float[Tensor, "*b k"]], params: LevelParams) -> Float[Tensor, "*b k"]:
    """Combines logits: the result is p(code | label) times two ratios, as unnormalised log probabilities.

    The ratios are (p(code | label) / p(code))^(s - 1) and (p(code | label) / g(code | label))^(a - 1) for a guide g. A
    scale of 1 changes nothing. With s above 1, images fit their label more surely and are less varied. With a above 1,
    images move away from those that the guide prefers.

    Args:
        logits: The logits given the label. If the parameters ask for them, the logits given the null label follow, and
            then the logits of the guide.
        params: The scales: s is `guidance_scale`, a is `autoguidance_scale`.

    Source: classifier-free guidance is equation 6 of Ho and Salimans 2022, arXiv 2207.12598, with s = 1 + w;
    autoguidance is section 4 of Karras et al. 2024, arXiv 2406.02507. Here the scores are logits.
    """
    conditional, *others = logits
    guided = conditional
    if params.is_guided:
        # Equation 6, with the scale s = 1 + w on the difference.
        unconditional = others.pop(0)
        guided = unconditional + params.guidance_scale * (conditional - unconditional)
    if params.is_autoguided:
        # The conditional logits are in the sum already, once: hence a - 1.
        guided = guided + (params.autoguidance_scale - 1) * (conditional - others.pop(0))
    return guided
