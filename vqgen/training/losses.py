"""Training losses of both stages.

Legend: `b` batch, `c` channels, `H W` image, `k` codebook entries, `h w` grid.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vqgen.models.vqvae import VQVAEOutput


def reconstruction_loss(
    reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """Mean squared error over all pixels, in the models' range [-1, 1]."""
    return F.mse_loss(reconstruction.to(images.dtype), images)


def vqvae_loss(
    output: VQVAEOutput, images: Float[Tensor, "b c H W"], commitment_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruction plus weighted commitment, summed over levels.

    The codebook's term of the paper's equation 3 has no place here: moving averages take its part.

    Returns:
        The loss to minimise, and its parts by name, detached.

    Source: VQ-VAE (arXiv 1711.00937), equation 3; the weight beta multiplies the term that moves the encoder.
    """
    reconstruction = reconstruction_loss(output.reconstruction, images)
    commitment = sum(output.commitment_losses.values(), start=reconstruction.new_zeros(()))
    loss = reconstruction + commitment_weight * commitment
    return loss, {"reconstruction": reconstruction.detach(), "commitment": commitment.detach()}


def nats_of_images(logits: Float[Tensor, "b k h w"], codes: Int[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Negative log-likelihood of each image's codes, in nats."""
    return F.cross_entropy(_at_least_float32(logits), codes, reduction="none").sum(dim=(1, 2))


def label_contrast(nats_of_true: Float[Tensor, " b"], nats_of_wrong: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Nats by which a label is to be told from a wrong one: -log p(label | codes, one of the two is right).

    Args:
        nats_of_true: -log p(codes | label) of each image.
        nats_of_wrong: The same with a wrong label.

    Source: the hybrid of a generative and a discriminative objective (Lasserre, Bishop and Minka 2006, CVPR); wrong
    conditions: condition contrastive alignment (Chen et al. 2024, arXiv 2410.09347). Deviation from the latter: beside
    the likelihood, and without a reference model.
    """
    return F.softplus(nats_of_true - nats_of_wrong)


def nats_per_code(logits: Float[Tensor, "b k h w"], codes: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of a code given the earlier ones, in nats."""
    return F.cross_entropy(_at_least_float32(logits), codes)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.element_size() < 4 else logits
