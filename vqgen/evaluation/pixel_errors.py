"""Errors of reconstructed pixels, image by image: MSE, PSNR and MS-SSIM.

Legend: `b` batch, `c` channels, `H W` image.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, fine to coarse: Wang et al. 2003, section 3.2."""

_WINDOW = 11
"""Side of the Gaussian window of SSIM, in pixels, for its usual deviation of 1.5."""


def psnr_per_image(mse: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio in dB of mean squared errors of intensities in [0, 1]; at most 100 dB."""
    return -10 * torch.log10(mse.clamp(min=1e-10))


def mse_per_image(reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"]:
    """Mean squared error per image, of intensities in [0, 1]; inputs are in [-1, 1] and the first is clamped."""
    difference = (reconstruction.double().clamp(-1, 1) - images.double()) / 2
    return difference.square().mean(dim=(1, 2, 3))


def ms_ssim_weights(side: int) -> tuple[float, ...]:
    """The exponents of the scales that fit into images of `side` pixels, halved from scale to scale; they sum to 1.

    The fourth scale is taken from 99 pixels on, where torchmetrics takes it; the window would fit from 88 on.
    """
    fitting = [weight for index, weight in enumerate(_SCALE_WEIGHTS) if side // max(2**index, index**2) >= _WINDOW]
    return tuple(weight / sum(fitting) for weight in fitting)


def ms_ssim_per_image(one: Float[Tensor, "b c H W"], other: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"] | None:
    """Computes the multi-scale structural similarity, of as many of its five scales as fit.

    Args:
        one: Intensities in [0, 1].
        other: The same.

    Returns:
        In [0, 1], 1 for equal images; None where the images are smaller than the window.

    Source: Wang, Simoncelli and Bovik 2003, by torchmetrics; without its negative values, which have no root.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = ms_ssim_weights(min(one.shape[-2:]))
    if not weights:
        return None
    found = multiscale_structural_similarity_index_measure(
        one, other, reduction="none", data_range=1.0, betas=weights, normalize="relu"
    )
    return (found if isinstance(found, Tensor) else found[0]).reshape(len(one))
