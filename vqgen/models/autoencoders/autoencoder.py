"""The plain autoencoder, and the Gaussian mixtures of its latents that make it a generator.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `y` classes, `k` components.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.latent_model import LatentDraws, LatentModel


@dataclass(frozen=True)
class LatentMixtures:
    """A Gaussian mixture for each class; images without labels are one class.

    Attributes:
        weights: `(y, k)`, rows that sum to 1.
        means: `(y, k, d)`.
        factors: `(y, k, d, d)`, lower Cholesky factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def sample(self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0) -> Float[Tensor, "b d"]:
        """Chooses a component by the first draw, then z = mean + temperature * L epsilon."""
        cumulated = self.weights[labels].cumsum(dim=1)
        passed = (draws.choice[:, None] * cumulated[:, -1:] >= cumulated).sum(dim=1)
        component = passed.clamp(max=self.weights.shape[1] - 1)
        spread = torch.einsum("bij,bj->bi", self.factors[labels, component], draws.normal)
        return self.means[labels, component] + temperature * spread


class Autoencoder(LatentModel):
    """Encodes to a vector and back, trained by the squared error; the mixtures are fitted afterwards.

    Args:
        config: Sizes of everything.
    """

    mixture_weights: Tensor
    mixture_means: Tensor
    mixture_factors: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=config.latent_size)
        classes, components, size = max(1, config.num_classes), config.mixture_components, config.latent_size
        self.register_buffer("mixture_weights", torch.full((classes, components), 1 / components))
        self.register_buffer("mixture_means", torch.zeros(classes, components, size))
        self.register_buffer("mixture_factors", torch.eye(size).repeat(classes, components, 1, 1))

    @property
    def mixtures(self) -> LatentMixtures:
        """What latents are sampled from; standard Gaussians until they have been fitted."""
        return LatentMixtures(self.mixture_weights, self.mixture_means, self.mixture_factors)

    def set_mixtures(self, mixtures: LatentMixtures) -> None:
        """Copies fitted mixtures into the model, with which they are saved."""
        self.mixture_weights.copy_(mixtures.weights)
        self.mixture_means.copy_(mixtures.means)
        self.mixture_factors.copy_(mixtures.factors)

    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """The latents of images with pixels in [-1, 1]."""
        return self.encoder(images, labels)

    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Images of latents, with pixels in [-1, 1]."""
        return self.decoder(latents, labels).clamp(-1, 1)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Latents of the mixture of each label."""
        return self.mixtures.sample(draws, labels.clamp(min=0), temperature)

    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean squared error of pixels in [-1, 1]."""
        reconstruction = self.decoder(self.encoder(images, labels), labels)
        return F.mse_loss(reconstruction.to(images.dtype), images), {}
