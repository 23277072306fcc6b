"""The quality of reconstructions: MSE, PSNR, SSIM, MS-SSIM, and LPIPS if its weights are on this machine.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vqgen.config import LPIPS_SIDE
from vqgen.data import to_float
from vqgen.evaluation.pixel_errors import WINDOW, ms_ssim_per_image, mse_per_image, psnr_per_image
from vqgen.models.lpips import lpips_network
from vqgen.runtime.threads import computing_threads, threads_for_work

_BATCH_SIZE = 100


def reconstruction_errors(
    images: UInt8[Tensor, "b c H W"],
    reconstructions: UInt8[Tensor, "b c H W"],
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Computes errors of reconstructions, means over the images.

    Args:
        images: The originals.
        reconstructions: The images decoded from their codes.
        lpips: From `load_lpips`; None leaves LPIPS out.

    Returns:
        mse (intensities in [0, 1]), psnr (dB), and ssim, ms_ssim and lpips if the images are large enough.

    Source: SSIM, Wang et al. 2004; MS-SSIM, Wang et al. 2003, with those of its five scales that fit; LPIPS, Zhang et
    al. 2018, arXiv 1801.03924, with AlexNet.
    """
    sums: dict[str, float] = {}
    for one, other in zip(images.split(_BATCH_SIZE), reconstructions.split(_BATCH_SIZE), strict=True):
        for name, values in _errors_per_image(to_float(one), to_float(other), lpips).items():
            sums[name] = sums.get(name, 0.0) + float(values.double().sum())
    return {name: value / len(images) for name, value in sums.items()}


def _errors_per_image(
    images: Float[Tensor, "b c H W"],
    reconstructions: Float[Tensor, "b c H W"],
    lpips: Callable[[Tensor, Tensor], Tensor] | None,
) -> dict[str, Float[Tensor, " b"]]:
    mse = mse_per_image(reconstructions, images)
    errors = {"mse": mse, "psnr": psnr_per_image(mse)}
    # In float64: SSIM subtracts squared means from means of squares, which are nearly equal in flat regions.
    one = (reconstructions.double() + 1) / 2
    other = (images.double() + 1) / 2
    # Weighted means of five maps around every pixel.
    with computing_threads(threads_for_work(5 * one.numel() * WINDOW**2)):
        errors |= _similarities(one, other)
    if lpips is not None and min(images.shape[-2:]) >= LPIPS_SIDE:
        errors["lpips"] = lpips(_to_rgb(reconstructions), _to_rgb(images))
    return {name: values.reshape(len(images)) for name, values in errors.items()}


def _similarities(one: Float[Tensor, "b c H W"], other: Float[Tensor, "b c H W"]) -> dict[str, Tensor]:
    """Computes SSIM and MS-SSIM of intensities in [0, 1]; nothing if the images are smaller than their window."""
    ms_ssim = ms_ssim_per_image(one, other)
    if ms_ssim is None:
        return {}
    from torchmetrics.functional.image import structural_similarity_index_measure

    ssim = structural_similarity_index_measure(one, other, reduction="none", data_range=1.0)
    return {"ssim": ssim if isinstance(ssim, Tensor) else ssim[0], "ms_ssim": ms_ssim}


def _to_rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def load_lpips(weights: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """Builds LPIPS on AlexNet. Its own linear layers come with torchmetrics.

    Args:
        weights: torchvision's AlexNet weights.

    Returns:
        A function of two batches of RGB images in [-1, 1] that returns a distance for each pair of images.

    Raises:
        CheckpointError: The file is missing, or holds something else.
    """
    network = lpips_network(weights)

    @torch.no_grad()
    def distance(one: Tensor, other: Tensor) -> Tensor:
        return network(one, other).flatten()

    return distance
