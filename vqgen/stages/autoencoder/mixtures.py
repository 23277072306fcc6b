"""The Gaussian mixtures of a plain autoencoder: fitted after its training, one for each label.

Legend: `n` images, `d` dimensions of the latent vector, `k` components.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vqgen.config import AutoencoderConfig
from vqgen.models.autoencoders.autoencoder import LatentMixtures
from vqgen.runtime.randomness import derive_seed

_MOST_ITERATIONS = 200

_ROUNDING = 1e-12
"""Variance of equal latents relative to their mean square: well above the rounding errors of float64."""


def fit_mixtures(
    latents: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], config: AutoencoderConfig, seed: int
) -> LatentMixtures:
    """Fits a Gaussian mixture with full covariances to the latents of each label, by expectation maximization.

    A label with fewer images than components gets one component per image. A label without images gets the mixture of
    all images.

    Args:
        latents: Latents of the training images.
        labels: Labels of the images. They are ignored if `config.num_classes` is 0: all images share one mixture.
        config: Labels, components and regularization.
        seed: Seed of the k-means that expectation maximization starts from.
    """
    points = latents.double().cpu().numpy()
    # The regularization is relative to the spread of the latents, because their scale is free. The latents of a
    # collapsed encoder have no spread: the floor is then above the rounding errors of their covariance, and above 0.
    spread = config.mixture_regularization * float(points.var(axis=0).mean())
    floor = max(spread, _ROUNDING * float(np.square(points).mean())) + np.finfo(np.float64).tiny
    num_labels = max(1, config.num_classes)
    most = config.mixture_components
    # A component that is not fitted has weight 0 and a valid factor: it is never drawn and never breaks the algebra.
    weights = np.zeros((num_labels, most))
    means = np.zeros((num_labels, most, config.latent_size))
    factors = np.tile(np.eye(config.latent_size), (num_labels, most, 1, 1))
    for label in range(num_labels):
        own = points[labels.cpu().numpy() == label] if config.num_classes else points
        # scikit-learn takes seeds of 32 bits.
        fitted = _fit(own if len(own) else points, most, floor, derive_seed(seed, "mixture", label) % 2**32)
        count = len(fitted[0])
        weights[label, :count], means[label, :count], factors[label, :count] = fitted
    return LatentMixtures(torch.from_numpy(weights), torch.from_numpy(means), torch.from_numpy(factors))


def _fit(
    points: NDArray[np.float64], most: int, floor: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fits one mixture.

    Args:
        points: `(n, d)`, at least one.
        most: Largest number of components.
        floor: Added to the diagonal of every covariance.
        seed: In [0, 2^32).

    Returns:
        Weights `(k,)`, means `(k, d)` and lower Cholesky factors `(k, d, d)`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(points) == 1:  # scikit-learn refuses a single point; the same point twice has the same mixture
        points = np.repeat(points, 2, axis=0)
        most = 1
    mixture = GaussianMixture(min(most, len(points)), reg_covar=floor, random_state=seed, max_iter=_MOST_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal points, or of an optimum that still creeps up
        mixture.fit(points)
    weights, means, covariances = (np.asarray(a) for a in (mixture.weights_, mixture.means_, mixture.covariances_))
    return weights, means, np.linalg.cholesky(covariances)
