"""Bounds of the log-likelihood of images under a variational autoencoder: the usual one, and a tighter one.

Legend: `n` images, `c` channels, `H W` image, `s` draws for each image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vqgen.data import model_pixels
from vqgen.models.autoencoders.latent_model import LatentDraws, VariationalModel
from vqgen.runtime.compute import Compute
from vqgen.sampling import image_draws

IMPORTANCE_SAMPLES = 100
"""Latents drawn for each image, by default."""

_VECTORS_PER_BATCH = 1600
"""Latent vectors to decode at a time: the images of a batch times the draws of each."""


@dataclass(frozen=True)
class LatentLikelihood:
    """Estimates of each image, in nats.

    Attributes:
        distortion: E_q[-log p(image | latents)].
        rate: KL(q(latents | image) || p(latents)).
        log_likelihood: The importance-weighted estimate of log p(image). Its expectation is a lower bound of it too.
    """

    distortion: Float64[Tensor, " n"]
    rate: Float64[Tensor, " n"]
    log_likelihood: Float64[Tensor, " n"]

    def metrics(self, chosen: Int64[Tensor, " chosen"]) -> dict[str, float]:
        """Computes means over the images at `chosen`, by name."""
        distortion = float(self.distortion[chosen].mean())
        rate = float(self.rate[chosen].mean())
        likelihood = float(self.log_likelihood[chosen].mean())
        return {"elbo": -distortion - rate, "log_likelihood": likelihood, "distortion": distortion, "rate": rate}


@torch.no_grad()
def latent_likelihood(
    model: VariationalModel,
    images: UInt8[Tensor, "n c H W"],
    labels: Int64[Tensor, " n"],
    compute: Compute,
    *,
    samples: int = IMPORTANCE_SAMPLES,
    seed: int = 0,
) -> LatentLikelihood:
    """Estimates log p(image | label) as log 1/s sum_s p(image | z_s) p(z_s) / q(z_s | image), z_s from the posterior.

    Args:
        model: The model, in evaluation mode, on the device of `compute`.
        images: The images.
        labels: -1 for no label.
        compute: Device and dtype.
        samples: s, latents for each image.
        seed: Image i draws from (seed, i).

    Source: Burda, Grosse and Salakhutdinov 2015, arXiv 1509.00519, equation 8.
    """
    parts = []
    for rows in torch.arange(len(images)).split(max(1, _VECTORS_PER_BATCH // samples)):
        # Each image has a generator of its own, so that the batch size changes no estimate.
        draws = image_draws(seed, rows.tolist(), model.config.latent_size, samples)
        pixels = model_pixels(images[rows], compute.device, compute.float_dtype)
        with compute.autocast():
            parts.append(_batch_likelihood(model, pixels, labels[rows].to(compute.device), draws.to(pixels)))
    distortion, rate, likelihood = (torch.cat(part).double().cpu() for part in zip(*parts, strict=True))
    return LatentLikelihood(distortion, rate, likelihood)


def _batch_likelihood(
    model: VariationalModel, pixels: Tensor, labels: Tensor, draws: LatentDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes distortion, rate and importance-weighted log-likelihood of each image of a batch."""
    samples = len(draws.choice)
    posterior = model.posterior(pixels, labels)
    latents = posterior.sample(draws)
    likelihood = model.log_likelihoods(pixels, latents, labels)
    # log of the importance weight p(image | z) p(z) / q(z | image); its mean over draws is an unbiased p(image).
    # The weights differ by hundreds of nats: the mean is taken in logarithms, and in float64.
    log_weights = (likelihood + posterior.log_ratio(latents)).double()
    return (
        -likelihood.double().mean(dim=0),
        posterior.divergence().double(),
        log_weights.logsumexp(dim=0) - math.log(samples),
    )
