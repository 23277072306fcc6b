"""The interface of all baselines: an encoder to one vector of latents, a decoder, and a prior of the latents.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `s` draws for each image.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.nn.image_networks import ImageDecoder, ImageEncoder


@dataclass(frozen=True)
class LatentDraws:
    """Standard draws for latents. Each kind of baseline takes the ones that it needs.

    Attributes:
        choice: `(...)` in [0, 1), one draw for each vector: it chooses the component of a mixture.
        uniform: `(..., d)` in [0, 1).
        normal: `(..., d)`, mean 0 and variance 1.
    """

    choice: Tensor
    uniform: Tensor
    normal: Tensor

    @staticmethod
    def like(latents: Float[Tensor, "*shape d"]) -> "LatentDraws":
        """Draws one vector for each vector of `latents`, from the global generator of torch."""
        choice = torch.rand(latents.shape[:-1], dtype=latents.dtype, device=latents.device)
        return LatentDraws(choice, torch.rand_like(latents), torch.randn_like(latents))

    def to(self, like: Tensor) -> "LatentDraws":
        """Returns the same draws with the device and dtype of `like`."""
        return LatentDraws(self.choice.to(like), self.uniform.to(like), self.normal.to(like))


class LatentModel(nn.Module, ABC):
    """A model that turns an image into one vector, and back.

        image --> encoder --> latents --> decoder --> image
                  prior ------^

    Args:
        config: Kind and sizes of the model.
        outputs: Numbers that the encoder returns for each image.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config, outputs)
        self.decoder = ImageDecoder(config)

    @abstractmethod
    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Computes the latents of images with pixels in [-1, 1]; with a posterior, its most likely latents."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Turns latents into images with pixels in [-1, 1]: the mean of p(image | latents), not a draw."""

    @abstractmethod
    def from_prior(
        self, draws: LatentDraws, labels: Int64[Tensor, " b"], temperature: float = 1.0
    ) -> Float[Tensor, "b d"]:
        """Turns draws into latents of the prior.

        Args:
            draws: One for each image.
            labels: Labels of the images to sample; -1 for no label.
            temperature: Factor of the deviations; 1 samples the prior itself.
        """

    @abstractmethod
    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss to minimise, and its parts by name, detached."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.encoder.output.weight.dtype


@runtime_checkable
class Posterior(Protocol):
    """A posterior q(latents | image) for each image of a batch."""

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
    """The evidence lower bound of each image, ELBO = -distortion - rate.

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
    """A latent model trained by the evidence lower bound. Subclasses choose the posterior and the prior.

    Source: Kingma and Welling 2013, arXiv 1312.6114, equation 10; with a weight beta, Higgins et al. 2017; conditioned
    on the label, Sohn et al. 2015.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__(config, outputs)
        if config.likelihood == "gaussian":
            # One deviation for all pixels, learned: it balances distortion and rate without a hand-set weight.
            # Its logarithm, because no step of the optimizer can then make the deviation negative.
            self.log_deviation = nn.Parameter(torch.zeros(1))

    @abstractmethod
    def posterior(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Posterior:
        """Computes q(latents | image, label)."""

    def encode(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Computes the most likely latents of images with pixels in [-1, 1]."""
        return self.posterior(images, labels).mode

    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Computes the mean of p(image | latents, label), with pixels in [-1, 1]."""
        output = self.decoder(latents, labels)
        return (2 * output.sigmoid() - 1) if self.config.likelihood == "bernoulli" else output.clamp(-1, 1)

    def log_likelihood(
        self, images: Float[Tensor, "b c H W"], latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """Computes log p(image | latents, label), in nats, summed over pixels and channels.

        A Bernoulli likelihood takes an intensity in [0, 1] as the share of white. A Gaussian one is the density of
        pixels in [-1, 1].
        """
        output = at_least_float32(self.decoder(latents, labels))
        pixels = images.to(output.dtype)
        if self.config.likelihood == "bernoulli":
            per_pixel = -F.binary_cross_entropy_with_logits(output, (pixels + 1) / 2, reduction="none")
        else:
            deviation = self.log_deviation.exp()
            # Validation would read its result back from the device at each step.
            per_pixel = torch.distributions.Normal(output, deviation, validate_args=False).log_prob(pixels)
        return per_pixel.flatten(1).sum(dim=1)

    def log_likelihoods(
        self, images: Float[Tensor, "b c H W"], latents: Float[Tensor, "s b d"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, "s b"]:
        """Computes log p(image | latents, label) of each image, for each of several latents."""
        draws = len(latents)
        # One batch of s * b images, draw by draw: the order in which `flatten` lays the latents out.
        flat = self.log_likelihood(images.repeat(draws, 1, 1, 1), latents.flatten(0, 1), labels.repeat(draws))
        return flat.unflatten(0, (draws, -1))

    def bound(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"], draws: int = 1) -> Bound:
        """Estimates the lower bound: the divergence in closed form, the likelihood by Monte Carlo.

        Args:
            images: Pixels in [-1, 1].
            labels: Labels of the images; -1 for no label.
            draws: Latents drawn for each image, L in the paper.
        """
        posterior = self.posterior(images, labels)
        several = posterior.mode.detach().expand(draws, -1, -1)  # only its shape, dtype and device count
        likelihood = self.log_likelihoods(images, posterior.sample(LatentDraws.like(several)), labels)
        return Bound(-likelihood.mean(dim=0), posterior.divergence())

    def likeliest_labels(self, images: Float[Tensor, "b c H W"]) -> Int64[Tensor, " b"]:
        """Chooses the label with the largest lower bound for each image."""
        bounds = []
        for label in range(self.config.label_features):
            labels = torch.full((len(images),), label, device=images.device)
            posterior = self.posterior(images, labels)
            # At the most likely latents, not at draws: the same image then always has the same label.
            bounds.append(self.log_likelihood(images, posterior.mode, labels) - posterior.divergence())
        return torch.stack(bounds).argmax(dim=0)

    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes distortion + beta * rate, per number of the image, so that the scale does not depend on the size."""
        bound = self.bound(images, labels, self.config.monte_carlo_samples)
        distortion = bound.distortion.mean()
        rate = bound.rate.mean()
        loss = (distortion + self.config.beta * rate) / images[0].numel()
        return loss, {"distortion": distortion.detach(), "rate": rate.detach()}


def at_least_float32(values: Tensor) -> Tensor:
    """Widens 16-bit numbers to float32: sums over pixels lose too much in 16 bits."""
    return values.float() if values.element_size() < 4 else values
