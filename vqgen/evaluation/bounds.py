"""What a variational autoencoder thinks of images: the lower bound of their log-likelihood, and a tighter one.

Legend: `n` images, `c` channels, `H W` image, `s` draws for each image.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vqgen.data import to_float
from vqgen.models.autoencoders.latent_model import LatentDraws, VariationalModel
from vqgen.runtime.compute import Compute
from vqgen.sampling import image_draws

IMPORTANCE_SAMPLES = 100
"""Latents drawn for each image, where nothing else is said."""

_VECTORS_AT_ONCE = 1600


@dataclass(frozen=True)
class LatentLikelihood:
    """Estimates in nats, image by image.

    Attributes:
        distortion: E_q[-log p(image | latents)].
        rate: KL(q(latents | image) || p(latents)).
        log_likelihood: The importance-weighted estimate of log p(image), in expectation a lower bound of it too.
    """

    distortion: Float64[Tensor, " n"]
    rate: Float64[Tensor, " n"]
    log_likelihood: Float64[Tensor, " n"]

    def metrics(self, chosen: Tensor) -> dict[str, float]:
        """Means over the images at `chosen`."""
        distortion, rate = float(self.distortion[chosen].mean()), float(self.rate[chosen].mean())
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
        model: In evaluation mode, where `compute` has put it.
        images: The images.
        labels: -1 for none.
        compute: Device and number format.
        samples: s, latents for each image.
        seed: Image i draws from (seed, i).

    Source: Burda, Grosse and Salakhutdinov 2015, arXiv 1509.00519, equation 8.
    """
    parts = []
    for rows in torch.arange(len(images)).split(max(1, _VECTORS_AT_ONCE // samples)):
        draws = image_draws(seed, rows.tolist(), model.config.latent_size, samples)
        pixels = to_float(images[rows].to(compute.device)).to(compute.float_dtype)
        with compute.autocast():
            parts.append(_of_batch(model, pixels, labels[rows].to(compute.device), draws.to(pixels)))
    distortion, rate, likelihood = (torch.cat(part).double().cpu() for part in zip(*parts, strict=True))
    return LatentLikelihood(distortion, rate, likelihood)


def _of_batch(
    model: VariationalModel, pixels: Tensor, labels: Tensor, draws: LatentDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Distortion, rate and importance-weighted log-likelihood of a batch."""
    samples = len(draws.choice)
    posterior = model.posterior(pixels, labels)
    latents = posterior.sample(draws)
    likelihood = model.log_likelihoods(pixels, latents, labels)
    log_weights = (likelihood + posterior.log_ratio(latents)).double()
    return (
        -likelihood.double().mean(dim=0),
        posterior.divergence().double(),
        log_weights.logsumexp(dim=0) - math.log(samples),
    )
