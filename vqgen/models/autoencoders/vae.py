"""The variational autoencoder: Gaussian latents.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `s` draws for each image.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.latent_model import LatentDraws, VariationalModel, at_least_float32


@dataclass(frozen=True)
class GaussianPosterior:
    """Gaussians with a diagonal covariance; the prior is the standard Gaussian.

    Attributes:
        mean: `(b, d)`.
        log_variance: `(b, d)`.

    Source: Kingma and Welling 2013, arXiv 1312.6114, section 2.4 and appendix B.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def mode(self) -> Float[Tensor, "b d"]:
        """The mean."""
        return self.mean

    def sample(self, draws: LatentDraws) -> Float[Tensor, "*s b d"]:
        """Reparameterizes: z = mu + sigma * epsilon."""
        return self.mean + (self.log_variance / 2).exp() * draws.normal

    def divergence(self) -> Float[Tensor, " b"]:
        """Computes KL(q || p) = sum 0.5 (sigma^2 + mu^2 - log sigma^2 - 1), in nats."""
        return 0.5 * (self.log_variance.exp() + self.mean.square() - self.log_variance - 1).sum(dim=-1)

    def log_ratio(self, latents: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Computes log p(z) - log q(z | x), in nats; the constants of both are the same."""
        standardized = (latents - self.mean).square() / self.log_variance.exp()
        return 0.5 * (standardized + self.log_variance - latents.square()).sum(dim=-1)


class VAE(VariationalModel):
    """Images from standard Gaussian latents.

    Args:
        config: Sizes of everything.

    Source: Kingma and Welling 2013, arXiv 1312.6114.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=2 * config.latent_size)

    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> GaussianPosterior:
        """q(latents | image, label)."""
        mean, log_variance = at_least_float32(self.encoder(images, labels)).chunk(2, dim=-1)
        return GaussianPosterior(mean, log_variance)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Standard Gaussian latents, whatever the label."""
        return temperature * draws.normal
