"""The variational autoencoder with Gaussian latents.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `s` draws for each image.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.latent_model import LatentDraws, VariationalModel, at_least_float32


@dataclass(frozen=True)
class GaussianPosterior:
    """Gaussians with a diagonal covariance, with the standard Gaussian as prior.

    Attributes:
        mean: `(b, d)`, mu.
        log_variance: `(b, d)`, log sigma^2: any real number is a valid output of the encoder.

    Source: Kingma and Welling 2013, arXiv 1312.6114, section 2.4 and appendix B.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def mode(self) -> Float[Tensor, "b d"]:
        """The mean, which is the most likely point of a Gaussian."""
        return self.mean

    def sample(self, draws: LatentDraws) -> Float[Tensor, "*s b d"]:
        """Draws z = mu + sigma * epsilon, so that gradients reach mu and sigma (reparameterization)."""
        return self.mean + (self.log_variance / 2).exp() * draws.normal

    def divergence(self) -> Float[Tensor, " b"]:
        """Computes KL(q || p) = sum 0.5 (sigma^2 + mu^2 - log sigma^2 - 1), in nats."""
        return 0.5 * (self.log_variance.exp() + self.mean.square() - self.log_variance - 1).sum(dim=-1)

    def log_ratio(self, latents: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Computes log p(z) - log q(z | x), in nats: the latents' share of an importance weight."""
        # Both densities have the factor (2 pi)^(-d/2), which cancels.
        standardized = (latents - self.mean).square() / self.log_variance.exp()
        return 0.5 * (standardized + self.log_variance - latents.square()).sum(dim=-1)


class VAE(VariationalModel):
    """A variational autoencoder whose prior is the standard Gaussian.

    Args:
        config: Kind and sizes of the model.

    Source: Kingma and Welling 2013, arXiv 1312.6114.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=2 * config.latent_size)

    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> GaussianPosterior:
        """Computes q(latents | image, label)."""
        mean, log_variance = at_least_float32(self.encoder(images, labels)).chunk(2, dim=-1)
        return GaussianPosterior(mean, log_variance)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Draws standard Gaussian latents for every label, with deviations multiplied by `temperature`."""
        return temperature * draws.normal
