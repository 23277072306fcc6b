"""Training losses of the VQ-VAE and of the priors.

Legend: `b` batch, `c` channels, `H W` image, `k` codebook entries, `h w` grid.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vqgen.config.losses import PixelLoss
from vqgen.models.vqvae import VQVAEOutput

_CHARBONNIER = 1e-3
"""Difference of pixels below which the Charbonnier loss is rather a square than an absolute value."""


def reconstruction_loss(
    reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Computes the mean squared error over all pixels, in the models' range [-1, 1]."""
    # Under autocast the reconstruction may be bfloat16; squares and their mean need the precision of the images.
    return F.mse_loss(reconstruction.to(images.dtype), images)


def absolute_loss(reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, ""]:
    """Computes the mean absolute error over all pixels, in the models' range [-1, 1]."""
    return F.l1_loss(reconstruction.to(images.dtype), images)


def charbonnier_loss(reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, ""]:
    """Computes the mean of sqrt(difference^2 + 0.001^2) over all pixels, in the models' range [-1, 1].

    Source: Charbonnier et al. 1994, ICIP; for images Lai et al. 2017, arXiv 1710.01992, equation 6.
    """
    difference = reconstruction.to(images.dtype) - images
    return (difference.square() + _CHARBONNIER**2).sqrt().mean()


PIXEL_LOSSES: dict[PixelLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": reconstruction_loss,
    "l1": absolute_loss,
    "charbonnier": charbonnier_loss,
}
"""Name in a recipe -> the loss of a reconstruction and its images."""


def vqvae_loss(
    output: VQVAEOutput, images: Float[Tensor, "b c H W"], commitment_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes reconstruction plus weighted commitment, summed over levels.

    The codebook term of equation 3 is there for levels whose quantizer learns by gradient. Moving averages update the
    other codebooks in its place.

    Args:
        output: The output of the VQ-VAE for these images.
        images: In [-1, 1].
        commitment_weight: The weight beta of the commitment, at least 0.

    Returns:
        The loss to minimise, and its parts by name, detached.

    Source: VQ-VAE (arXiv 1711.00937), equation 3; the weight beta multiplies the term that moves the encoder.
    """
    reconstruction = reconstruction_loss(output.reconstruction, images)
    of_quantizers, parts = quantizer_loss(output, commitment_weight)
    return reconstruction + of_quantizers, {"reconstruction": reconstruction.detach(), **parts}


def quantizer_loss(output: VQVAEOutput, commitment_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes the weighted commitment, and the losses of quantizers that learn by gradient, summed over levels.

    Args:
        output: The output of the VQ-VAE.
        commitment_weight: As in `vqvae_loss`.

    Returns:
        The loss, and its parts by name, detached.
    """
    commitment = torch.stack(list(output.commitment_losses.values())).sum()
    loss = commitment_weight * commitment
    parts = {"commitment": commitment.detach()}
    if output.codebook_losses:
        codebook = torch.stack(list(output.codebook_losses.values())).sum()
        loss = loss + codebook
        parts["codebook"] = codebook.detach()
    return loss, parts


def nats_of_images(logits: Float[Tensor, "b k h w"], codes: Int[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Computes the negative log-likelihood of each image's codes, in nats."""
    return F.cross_entropy(_at_least_float32(logits), codes, reduction="none").sum(dim=(1, 2))


def label_contrast(nats_of_true: Float[Tensor, " b"], nats_of_wrong: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Computes the contrast of true and wrong labels: -log p(label | codes, one of the two is right), in nats.

    Args:
        nats_of_true: -log p(codes | true label) of each image.
        nats_of_wrong: -log p(codes | wrong label) of each image.

    Source: the hybrid of a generative and a discriminative objective (Lasserre, Bishop and Minka 2006, CVPR); wrong
    conditions: condition contrastive alignment (Chen et al. 2024, arXiv 2410.09347). Deviations from the second: this
    loss is added to the likelihood, and it has no reference model.
    """
    # By Bayes' rule with equal priors, p = p_true / (p_true + p_wrong); its -log is a softplus of the difference.
    return F.softplus(nats_of_true - nats_of_wrong)


def nats_per_code(logits: Float[Tensor, "b k h w"], codes: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Computes the mean negative log-likelihood of a code given the earlier codes, in nats."""
    return F.cross_entropy(_at_least_float32(logits), codes)


def _at_least_float32(logits: Tensor) -> Tensor:
    # bfloat16 has 8 bits of precision: near log 512 = 6.24 its steps are 0.03 nats. float64 stays as it is.
    return logits.float() if logits.element_size() < 4 else logits
