"""The plain autoencoder, and the Gaussian mixtures of its latents that make it a generator.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `y` labels, `k` components.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.latent_model import LatentDraws, LatentModel, TrainingPass


@dataclass(frozen=True)
class LatentMixtures:
    """A Gaussian mixture of latents for each label. Images without labels share one mixture.

    Attributes:
        weights: `(y, k)`, probabilities of the components; each row sums to 1.
        means: `(y, k, d)`, means of the components.
        factors: `(y, k, d, d)`, lower Cholesky factors L of the covariances L L^T.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def sample(self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0) -> Float[Tensor, "b d"]:
        """Draws latents: a component of the label's mixture, then z = mean + temperature * L epsilon.

        Args:
            draws: One for each image.
            labels: Labels in [0, y).
            temperature: Factor of the deviations. At 0 a latent is the mean of its component.
        """
        # By inversion: the component is the number of cumulated weights that the draw has passed. Rounding may leave
        # their sum beside 1, so the draw is scaled to the sum; the clamp is for a draw that rounds up to the sum.
        cumulated = self.weights[labels].cumsum(dim=1)
        passed = (draws.choice[:, None] * cumulated[:, -1:] >= cumulated).sum(dim=1)
        component = passed.clamp(max=self.weights.shape[1] - 1)
        deviation = torch.einsum("bij,bj->bi", self.factors[labels, component], draws.normal)
        return self.means[labels, component] + temperature * deviation


class Autoencoder(LatentModel):
    """An autoencoder trained by the squared error. The mixtures are fitted to its latents after the training.

    Args:
        config: Kind and sizes of the model.
    """

    mixture_weights: Tensor
    mixture_means: Tensor
    mixture_factors: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config, outputs=config.latent_size)
        labels = max(1, config.num_classes)
        components = config.mixture_components
        size = config.latent_size
        # Buffers, so that they are saved with the weights but have no gradient.
        self.register_buffer("mixture_weights", torch.full((labels, components), 1 / components))
        self.register_buffer("mixture_means", torch.zeros(labels, components, size))
        identity = torch.zeros(size, size).fill_diagonal_(
            1
        )  # `torch.eye` imports the compiler: see `models.checkpoint`
        self.register_buffer("mixture_factors", identity.repeat(labels, components, 1, 1))

    @property
    def mixtures(self) -> LatentMixtures:
        """The distribution of latents to sample from: standard Gaussians until mixtures have been fitted."""
        return LatentMixtures(self.mixture_weights, self.mixture_means, self.mixture_factors)

    def set_mixtures(self, mixtures: LatentMixtures) -> None:
        """Copies fitted mixtures into the model, so that they are saved with it."""
        self.mixture_weights.copy_(mixtures.weights)
        self.mixture_means.copy_(mixtures.means)
        self.mixture_factors.copy_(mixtures.factors)

    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Computes the latents of images with pixels in [-1, 1]."""
        return self.encoder(images, labels)

    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Draws latents from the mixture of each label."""
        # Label -1 of images without labels: their mixture is the first.
        return self.mixtures.sample(draws, labels.clamp(min=0), temperature)

    def training_pass(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> TrainingPass:
        """Encodes and decodes images. The loss is the mean squared error of pixels in [-1, 1]; it has no parts."""
        reconstruction = self.decoder(self.encoder(images, labels), labels)
        return TrainingPass(F.mse_loss(reconstruction.to(images.dtype), images), {}, reconstruction)
