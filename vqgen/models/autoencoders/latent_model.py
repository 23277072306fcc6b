"""What all baselines are: an encoder to one vector of latents, a decoder, and a prior to sample latents from.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `s` draws for each image.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.nn.image_networks import ImageDecoder, ImageEncoder


@dataclass(frozen=True)
class LatentDraws:
    """Standard draws that latents are made of.

    Attributes:
        choice: `(...)` in [0, 1), for what is chosen once for each vector.
        uniform: `(..., d)` in [0, 1).
        normal: `(..., d)`, mean 0 and variance 1.
    """

    choice: Tensor
    uniform: Tensor
    normal: Tensor

    @staticmethod
    def like(latents: Float[Tensor, "*shape d"]) -> "LatentDraws":
        """As many as `latents` has vectors, from torch's own generator."""
        choice = torch.rand(latents.shape[:-1], dtype=latents.dtype, device=latents.device)
        return LatentDraws(choice, torch.rand_like(latents), torch.randn_like(latents))

    def to(self, like: Tensor) -> "LatentDraws":
        """The same draws where `like` is, and in its number format."""
        return LatentDraws(self.choice.to(like), self.uniform.to(like), self.normal.to(like))


class LatentModel(nn.Module, ABC):
    """An image as one vector.

        image --> encoder --> latents --> decoder --> image
                  prior ------^

    Args:
        config: Sizes of everything.
        outputs: Numbers that the encoder returns for each image.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config, outputs)
        self.decoder = ImageDecoder(config)

    @abstractmethod
    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """The latents of images with pixels in [-1, 1]; of a posterior its most likely ones."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Images of latents, with pixels in [-1, 1]: means, not draws."""

    @abstractmethod
    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Turns draws into latents of the prior.

        Args:
            draws: One for each image.
            labels: What to sample.
            temperature: Factor of the deviations; 1 is the prior itself.
        """

    @abstractmethod
    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss to minimise, and its parts by name, detached."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.encoder.output.weight.dtype


class Posterior(Protocol):
    """q(latents | image) of a batch."""

    def sample(self, draws: LatentDraws) -> Float[Tensor, "*s b d"]:
        """Turns draws into latents; gradients reach the posterior's parameters."""
        ...

    def divergence(self) -> Float[Tensor, " b"]:
        """Computes KL(q(latents | image) || p(latents)), in nats."""
        ...

    def log_ratio(self, latents: Float[Tensor, "*s b d"]) -> Float[Tensor, "*s b"]:
        """Computes log p(latents) - log q(latents | image), in nats."""
        ...

    @property
    def mode(self) -> Float[Tensor, "b d"]:
        """The most likely latents."""
        ...


@dataclass(frozen=True)
class Bound:
    """The evidence lower bound, ELBO = -distortion - rate, image by image.

    Attributes:
        distortion: `(b,)`, E_q[-log p(image | latents)], in nats.
        rate: `(b,)`, KL(q(latents | image) || p(latents)), in nats.
    """

    distortion: Tensor
    rate: Tensor

    @property
    def elbo(self) -> Tensor:
        """A lower bound of log p(image), `(b,)`, in nats."""
        return -self.distortion - self.rate


class VariationalModel(LatentModel):
    """A latent model trained by the evidence lower bound; its classes choose posterior and prior.

    Source: Kingma and Welling 2013, arXiv 1312.6114, equation 10; with a weight beta, Higgins et al. 2017; told the
    label, Sohn et al. 2015.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__(config, outputs)
        if config.likelihood == "gaussian":
            self.log_deviation = nn.Parameter(torch.zeros(1))

    @abstractmethod
    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Posterior:
        """q(latents | image, label)."""

    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """The most likely latents of images with pixels in [-1, 1]."""
        return self.posterior(images, labels).mode

    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """The mean of p(image | latents, label), pixels in [-1, 1]."""
        output = self.decoder(latents, labels)
        return (2 * output.sigmoid() - 1) if self.config.likelihood == "bernoulli" else output.clamp(-1, 1)

    def log_likelihood(
        self, images: Float[Tensor, "b c H W"], latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """Computes log p(image | latents, label), in nats, summed over pixels and channels.

        Bernoulli: intensities in [0, 1] as the share of white; Gaussian: the density of pixels in [-1, 1].
        """
        output = at_least_float32(self.decoder(latents, labels))
        pixels = images.to(output.dtype)
        if self.config.likelihood == "bernoulli":
            per_pixel = -F.binary_cross_entropy_with_logits(output, (pixels + 1) / 2, reduction="none")
        else:
            deviation = self.log_deviation.exp()
            per_pixel = torch.distributions.Normal(output, deviation, validate_args=False).log_prob(pixels)
        return per_pixel.flatten(1).sum(dim=1)

    def log_likelihoods(
        self, images: Float[Tensor, "b c H W"], latents: Float[Tensor, "s b d"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, "s b"]:
        """Computes log p(image | latents, label) of each image for several latents."""
        draws = len(latents)
        flat = self.log_likelihood(images.repeat(draws, 1, 1, 1), latents.flatten(0, 1), labels.repeat(draws))
        return flat.unflatten(0, (draws, -1))

    def bound(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"], draws: int = 1) -> Bound:
        """Estimates the lower bound: the divergence in closed form, the likelihood by Monte Carlo.

        Args:
            images: Pixels in [-1, 1].
            labels: -1 for none.
            draws: Latents drawn for each image, L in the paper.
        """
        posterior = self.posterior(images, labels)
        several = posterior.mode.detach().expand(draws, -1, -1)
        likelihood = self.log_likelihoods(images, posterior.sample(LatentDraws.like(several)), labels)
        return Bound(-likelihood.mean(dim=0), posterior.divergence())

    def likeliest_labels(self, images: Float[Tensor, "b c H W"]) -> Int64[Tensor, " b"]:
        """The label under which each image's bound is largest, taken at the most likely latents instead of draws."""
        bounds = []
        for label in range(self.config.label_features):
            labels = torch.full((len(images),), label, device=images.device)
            posterior = self.posterior(images, labels)
            bounds.append(self.log_likelihood(images, posterior.mode, labels) - posterior.divergence())
        return torch.stack(bounds).argmax(dim=0)

    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Distortion plus beta times rate, for each number of the image so that its size does not change the scale."""
        bound = self.bound(images, labels, self.config.monte_carlo_samples)
        distortion, rate = bound.distortion.mean(), bound.rate.mean()
        loss = (distortion + self.config.beta * rate) / images[0].numel()
        return loss, {"distortion": distortion.detach(), "rate": rate.detach()}


def at_least_float32(values: Tensor) -> Tensor:
    """Widens 16-bit numbers, in which sums over pixels lose too much."""
    return values.float() if values.element_size() < 4 else values
