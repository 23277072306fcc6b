"""Errors of reconstructed pixels, image by image: MSE, PSNR, SSIM and MS-SSIM.

Legend: `b` batch, `c` channels, `H W` image.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vqgen.runtime.threads import computing_threads, threads_for_work

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, fine to coarse: Wang et al. 2003, section 3.2."""

_WINDOW = 11
"""Side of the Gaussian window of SSIM in pixels."""

_DEVIATION = 1.5
"""Standard deviation of that window in pixels."""

_STABILIZERS = (0.01**2, 0.03**2)
"""C1 and C2 of SSIM for intensities in [0, 1], which keep its quotients finite: Wang et al. 2004, section 3.B."""


def psnr_per_image(mse: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Computes the peak signal-to-noise ratio in dB from mean squared errors of intensities in [0, 1].

    It is at most 100 dB, so that a perfect reconstruction leaves means finite.
    """
    return -10 * torch.log10(mse.clamp(min=1e-10))


def mse_per_image(reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Computes the mean squared error of each image, of intensities in [0, 1].

    Args:
        reconstruction: A decoder's output, clamped to [-1, 1].
        images: The originals, in [-1, 1].
    """
    # Half the difference in [-1, 1] is the difference in [0, 1].
    difference = (reconstruction.double().clamp(-1, 1) - images.double()) / 2
    return difference.square().mean(dim=(1, 2, 3))


def ms_ssim_weights(side: int) -> tuple[float, ...]:
    """Returns the exponents of the scales that fit into images of `side` pixels; they sum to 1.

    Each scale halves the image, and the window has to fit into the last one. torchmetrics asks for 99 pixels before it
    computes a fourth scale, although the window would fit from 88 on; so does this function.
    """
    fitting = [weight for index, weight in enumerate(_SCALE_WEIGHTS) if side // max(2**index, index**2) >= _WINDOW]
    return tuple(weight / sum(fitting) for weight in fitting)


@dataclass(frozen=True)
class Similarity:
    """Structural similarities of pairs of images, 1 for equal images.

    Attributes:
        ssim: SSIM of each pair, in [-1, 1].
        ms_ssim: MS-SSIM of each pair over those of its five scales that fit, in [0, 1].
    """

    ssim: Float[Tensor, " b"]
    ms_ssim: Float[Tensor, " b"]


def similarity_per_image(one: Float[Tensor, "b c H W"], other: Float[Tensor, "b c H W"]) -> Similarity | None:
    """Computes SSIM and MS-SSIM; None if the images are smaller than the window.

    It is the metric of torchmetrics (tested), which takes seconds to import.

    Args:
        one: Intensities in [0, 1].
        other: Intensities in [0, 1].

    Source: Wang et al. 2004, equation 13; Wang, Simoncelli and Bovik 2003, equation 7. As in torchmetrics the window
    reflects at the borders, and the contrast of the scales but the last leaves them out. Negative values of a scale
    become 0, since a negative number has no real root.
    """
    weights = ms_ssim_weights(min(one.shape[-2:]))
    if not weights:
        return None
    ssim, contrast = _ssim_and_contrast(one, other)
    factors = []
    similarity = ssim
    for _ in weights[1:]:
        factors.append(contrast)
        one = F.avg_pool2d(one, 2)
        other = F.avg_pool2d(other, 2)
        similarity, contrast = _ssim_and_contrast(one, other)
    factors.append(similarity)  # luminance counts at the coarsest scale only
    # Exponents in float32 in any case: torchmetrics has them so.
    exponents = torch.tensor(weights, device=one.device).view(-1, 1)
    return Similarity(ssim, (torch.stack(factors).relu() ** exponents).prod(dim=0))


def _ssim_and_contrast(
    one: Float[Tensor, "b c H W"], other: Float[Tensor, "b c H W"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Computes SSIM, and its factor for contrast and structure, each a mean over an image."""
    margin = _WINDOW // 2
    x, y = (F.pad(each, (margin,) * 4, mode="reflect") for each in (one, other))
    maps = torch.cat((x, y, x * x, y * y, x * y))
    window = _gaussian_window(one).expand(one.shape[1], 1, _WINDOW, _WINDOW)
    with computing_threads(threads_for_work(5 * one.numel() * _WINDOW**2)):
        # Of each of the five maps, the weighted mean around every pixel.
        means = F.conv2d(maps, window, groups=one.shape[1])
    mean, other_mean, square, other_square, product = means.split(len(one))
    variance = (square - mean * mean).clamp(min=0)
    other_variance = (other_square - other_mean * other_mean).clamp(min=0)
    covariance = product - mean * other_mean
    contrast = (2 * covariance + _STABILIZERS[1]) / (variance + other_variance + _STABILIZERS[1])
    ssim = (
        (2 * (mean * other_mean) + _STABILIZERS[0])
        * (2 * covariance + _STABILIZERS[1])
        / ((mean * mean + other_mean * other_mean + _STABILIZERS[0]) * (variance + other_variance + _STABILIZERS[1]))
    )
    inner = contrast[..., margin:-margin, margin:-margin]
    return ssim.flatten(1).mean(dim=1), inner.flatten(1).mean(dim=1)


def _gaussian_window(like: Tensor) -> Float[Tensor, "window window"]:
    """Returns the Gaussian window of SSIM, which sums to 1, in the dtype and on the device of a tensor."""
    distance = torch.arange(-(_WINDOW // 2), _WINDOW // 2 + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-((distance / _DEVIATION) ** 2) / 2)
    weights = weights / weights.sum()
    return weights[:, None] @ weights[None]
