"""Errors of reconstructed pixels, image by image: MSE, PSNR and MS-SSIM.

Legend: `b` batch, `c` channels, `H W` image.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, fine to coarse: Wang et al. 2003, section 3.2."""

WINDOW = 11
"""Side of the Gaussian window of SSIM in pixels, for its usual deviation of 1.5."""


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
    fitting = [weight for index, weight in enumerate(_SCALE_WEIGHTS) if side // max(2**index, index**2) >= WINDOW]
    return tuple(weight / sum(fitting) for weight in fitting)


def ms_ssim_per_image(one: Float[Tensor, "b c H W"], other: Float[Tensor, "b c H W"]) -> Float[Tensor, " b"] | None:
    """Computes the multi-scale structural similarity over those of its five scales that fit.

    Args:
        one: Intensities in [0, 1].
        other: Intensities in [0, 1].

    Returns:
        Values in [0, 1], 1 for equal images; None if the images are smaller than the window.

    Source: Wang, Simoncelli and Bovik 2003, by torchmetrics. Negative values become 0, since a negative number has no
    real root.
    """
    weights = ms_ssim_weights(min(one.shape[-2:]))
    if not weights:
        return None
    # Imported here, because it takes seconds and small images do not need it.
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    found = multiscale_structural_similarity_index_measure(
        one, other, reduction="none", data_range=1.0, betas=weights, normalize="relu"
    )
    return (found if isinstance(found, Tensor) else found[0]).reshape(len(one))
