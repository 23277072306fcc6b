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
    """Independent bits; the prior is a fair coin for each.

    Attributes:
        logits: `(b, d)` of q(bit = 1 | image).
        gumbel_temperature: Of the binary concrete through which gradients go; None goes straight through.
    """

    logits: Tensor
    gumbel_temperature: float | None

    @property
    def mode(self) -> Float[Tensor, "b d"]:
        """The likelier value of each bit."""
        return (self.logits > 0).to(self.logits.dtype)

    def sample(self, draws: LatentDraws) -> Float[Tensor, "*s b d"]:
        """Draws bits of 0 and 1: logit(u) + logits > 0.

        The gradient is that of the probabilities (straight-through), or that of the relaxed bits (binary concrete).

        Source: Bengio et al. 2013, arXiv 1308.3432; Maddison et al. 2016, arXiv 1611.00712, and Jang et al. 2016, arXiv
        1611.01144, section 2.2.
        """
        tiny = torch.finfo(draws.uniform.dtype).tiny
        u = draws.uniform.clamp(min=tiny)
        noisy = self.logits + u.log() - torch.log1p(-u)
        bits = (noisy > 0).to(noisy.dtype)
        if self.gumbel_temperature is None:
            return straight_through(bits, self.logits.sigmoid())
        return straight_through(bits, (noisy / self.gumbel_temperature).sigmoid())

    def divergence(self) -> Float[Tensor, " b"]:
        """Computes KL(q || p) = sum log 2 - H(q), in nats."""
        probability = self.logits.sigmoid()
        negative_entropy = probability * F.logsigmoid(self.logits) + (1 - probability) * F.logsigmoid(-self.logits)
        return (negative_entropy + math.log(2)).sum(dim=-1)

    def log_ratio(self, latents: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Computes log p(z) - log q(z | x), in nats."""
        log_q = latents * F.logsigmoid(self.logits) + (1 - latents) * F.logsigmoid(-self.logits)
        return (-math.log(2) - log_q).sum(dim=-1)


def straight_through(
    values: Float[Tensor, "*shape"], differentiable: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Returns `values`; the gradient goes to `differentiable` as if it were they."""
    return values.detach() + (differentiable - differentiable.detach())


class BinaryVAE(VariationalModel):
    """Images from latents of 0 and 1.

    Args:
        config: Sizes of everything.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=config.latent_size)

    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> BernoulliPosterior:
        """q(latents | image, label)."""
        temperature = self.config.gumbel_temperature if self.config.gradient == "gumbel" else None
        return BernoulliPosterior(at_least_float32(self.encoder(images, labels)), temperature)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Fair coins, whatever the label; they have no deviation that a temperature could change."""
        return (draws.uniform < 0.5).to(draws.uniform.dtype)
