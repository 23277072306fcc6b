"""After an autoencoder has been trained: Gaussian mixtures of its training images' latents, one for each class.

Legend: `n` images, `d` dimensions of the latent vector.
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


def fit_mixtures(
    latents: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], config: AutoencoderConfig, seed: int
) -> LatentMixtures:
    """Fits a Gaussian mixture with full covariances to the latents of each class, by expectation maximization.

    A class of fewer images than components has so many components; one of none has the mixture of all images.

    Args:
        latents: Of the training images.
        labels: Their labels; without labels in the model they count as one class.
        config: Classes, components and regularization.
        seed: Seed of the start by k-means.
    """
    points = latents.double().cpu().numpy()
    floor = config.mixture_regularization * float(points.var(axis=0).mean()) + np.finfo(np.float64).tiny
    classes, most, size = max(1, config.num_classes), config.mixture_components, config.latent_size
    weights, means = np.zeros((classes, most)), np.zeros((classes, most, size))
    factors = np.tile(np.eye(size), (classes, most, 1, 1))
    for label in range(classes):
        own = points[labels.cpu().numpy() == label] if config.num_classes else points
        fitted = _fit(own if len(own) else points, most, floor, derive_seed(seed, "mixture", label) % 2**32)
        count = len(fitted[0])
        weights[label, :count], means[label, :count], factors[label, :count] = fitted
    return LatentMixtures(torch.from_numpy(weights), torch.from_numpy(means), torch.from_numpy(factors))


def _fit(
    points: NDArray[np.float64], most: int, floor: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weights, means and Cholesky factors of one mixture."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(points) == 1:  # which scikit-learn refuses
        points = np.repeat(points, 2, axis=0)
        most = 1
    mixture = GaussianMixture(min(most, len(points)), reg_covar=floor, random_state=seed, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points, or an optimum that is still creeping up
        mixture.fit(points)
    weights, means, covariances = (np.asarray(a) for a in (mixture.weights_, mixture.means_, mixture.covariances_))
    return weights, means, np.linalg.cholesky(covariances)
