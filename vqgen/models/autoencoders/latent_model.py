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


@dataclass(frozen=True)
class TrainingPass:
    """The result of a training step's pass.

    Attributes:
        loss: The loss to minimise.
        parts: Its parts by name, detached.
        output: The decoder's output, of the first draw if there are several; `LatentModel.image_of` makes images of it.
    """

    loss: Float[Tensor, ""]
    parts: dict[str, Tensor]
    output: Float[Tensor, "b c H W"]


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

    def decode(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Turns latents into images with pixels in [-1, 1]: the mean of p(image | latents, label), not a draw."""
        return self.image_of(self.decoder(latents, labels)).clamp(-1, 1)

    def image_of(self, output: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Turns the decoder's output into images with pixels in about [-1, 1]; gradients reach the model."""
        return output

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
    def training_pass(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> TrainingPass:
        """Encodes and decodes images as a training step does."""

    def loss(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the loss to minimise, and its parts by name, detached."""
        found = self.training_pass(images, labels)
        return found.loss, found.parts

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

    def image_of(self, output: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Computes the mean of p(image | latents, label) from the decoder's output."""
        return 2 * output.sigmoid() - 1 if self.config.likelihood == "bernoulli" else output

    def log_likelihood(
        self, images: Float[Tensor, "b c H W"], latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """Computes log p(image | latents, label), in nats, summed over pixels and channels.

        A Bernoulli likelihood takes an intensity in [0, 1] as the share of white. A Gaussian one is the density of
        pixels in [-1, 1].
        """
        return self._log_density(at_least_float32(self.decoder(latents, labels)), images)

    def _log_density(self, output: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
        """Computes the log-likelihood of images under an output of the decoder."""
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
        return self._bound_and_output(images, labels, draws)[0]

    def _bound_and_output(
        self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"], draws: int
    ) -> tuple[Bound, Float[Tensor, "s_times_b c H W"]]:
        """Estimates the lower bound, and returns the decoder's output of all draws, draw by draw."""
        posterior = self.posterior(images, labels)
        several = posterior.mode.detach().expand(draws, -1, -1)  # only its shape, dtype and device count
        latents = posterior.sample(LatentDraws.like(several)).flatten(0, 1)
        output = at_least_float32(self.decoder(latents, labels.repeat(draws)))
        likelihood = self._log_density(output, images.repeat(draws, 1, 1, 1)).unflatten(0, (draws, -1))
        return Bound(-likelihood.mean(dim=0), posterior.divergence()), output

    def likeliest_labels(self, images: Float[Tensor, "b c H W"]) -> Int64[Tensor, " b"]:
        """Chooses the label with the largest lower bound for each image."""
        bounds = []
        for label in range(self.config.label_features):
            labels = torch.full((len(images),), label, device=images.device)
            posterior = self.posterior(images, labels)
            # At the most likely latents, not at draws: the same image then always has the same label.
            bounds.append(self.log_likelihood(images, posterior.mode, labels) - posterior.divergence())
        return torch.stack(bounds).argmax(dim=0)

    def training_pass(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> TrainingPass:
        """Encodes images and decodes draws of their latents.

        The loss is distortion + beta * rate, per number of the image, so that its scale does not depend on the size.
        """
        bound, output = self._bound_and_output(images, labels, self.config.monte_carlo_samples)
        return TrainingPass(*self._loss_of(bound, images), output[: len(images)])

    def _loss_of(self, bound: Bound, images: Float[Tensor, "b c H W"]) -> tuple[Tensor, dict[str, Tensor]]:
        distortion = bound.distortion.mean()
        rate = bound.rate.mean()
        loss = (distortion + self.config.beta * rate) / images[0].numel()
        return loss, {"distortion": distortion.detach(), "rate": rate.detach()}


def at_least_float32(values: Tensor) -> Tensor:
    """Widens 16-bit numbers to float32: sums over pixels lose too much in 16 bits."""
    return values.float() if values.element_size() < 4 else values
