"""The variational autoencoder with binary latents.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `s` draws for each image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.latent_model import LatentDraws, VariationalModel, at_least_float32


@dataclass(frozen=True)
class BernoulliPosterior:
    """Independent bits, with a prior of fair coins.

    Attributes:
        logits: `(b, d)`, logits of q(bit = 1 | image).
        gumbel_temperature: Temperature of the relaxed bits (binary concrete) that gradients pass through. None for the
            gradient of the probabilities (straight-through).
    """

    logits: Tensor
    gumbel_temperature: float | None

    @property
    def mode(self) -> Float[Tensor, "b d"]:
        """The likelier value of each bit."""
        return (self.logits > 0).to(self.logits.dtype)

    def sample(self, draws: LatentDraws) -> Float[Tensor, "*s b d"]:
        """Draws bits of 0 and 1: logit(u) + logits > 0.

        Bits have no gradient, so another one takes its place: the gradient of the probabilities (straight-through), or
        of the relaxed bits sigmoid((logit(u) + logits) / temperature) (binary concrete).

        Source: Bengio et al. 2013, arXiv 1308.3432; Maddison et al. 2016, arXiv 1611.00712, and Jang et al. 2016, arXiv
        1611.01144, section 2.2.
        """
        # A draw of exactly 0 would have a logit of minus infinity.
        tiny = torch.finfo(draws.uniform.dtype).tiny
        u = draws.uniform.clamp(min=tiny)
        # The difference of two Gumbel draws is a logistic one, logit(u), so one uniform draw per bit is enough.
        noisy = self.logits + u.log() - torch.log1p(-u)
        bits = (noisy > 0).to(noisy.dtype)
        if self.gumbel_temperature is None:
            # Biased, but with little variance: the factor p (1 - p) does not depend on the draw.
            return straight_through(bits, self.logits.sigmoid())
        # Low temperatures bring the relaxed bits nearer to the bits: less bias, and more variance.
        return straight_through(bits, (noisy / self.gumbel_temperature).sigmoid())

    def divergence(self) -> Float[Tensor, " b"]:
        """Computes KL(q || p) = sum log 2 - H(q), in nats."""
        # logsigmoid, not the logarithm of the sigmoid: that is minus infinity for sure bits.
        probability = self.logits.sigmoid()
        negative_entropy = probability * F.logsigmoid(self.logits) + (1 - probability) * F.logsigmoid(-self.logits)
        return (negative_entropy + math.log(2)).sum(dim=-1)

    def log_ratio(self, latents: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Computes log p(z) - log q(z | x), in nats: the latents' share of an importance weight."""
        log_q = latents * F.logsigmoid(self.logits) + (1 - latents) * F.logsigmoid(-self.logits)
        return (-math.log(2) - log_q).sum(dim=-1)


def straight_through(
    values: Float[Tensor, "*s b d"], differentiable: Float[Tensor, "*draws b d"]
) -> Float[Tensor, "*s b d"]:
    """Returns `values`, with the gradient of `differentiable`.

    Args:
        values: Any values.
        differentiable: Of the same shape, or with one entry for all draws.
    """
    # The bracket is exactly zero, so the values come back bit for bit.
    return values.detach() + (differentiable - differentiable.detach())


class BinaryVAE(VariationalModel):
    """A variational autoencoder whose latents are 0 or 1.

    Args:
        config: Kind and sizes of the model.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=config.latent_size)

    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> BernoulliPosterior:
        """Computes q(latents | image, label)."""
        temperature = self.config.gumbel_temperature if self.config.gradient == "gumbel" else None
        return BernoulliPosterior(at_least_float32(self.encoder(images, labels)), temperature)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Draws fair coins for every label. A temperature has no effect: coins have no deviation to change."""
        return (draws.uniform < 0.5).to(draws.uniform.dtype)
