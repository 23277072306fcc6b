"""The likelihood of codes under the priors: nats per code of each level, and bits per pixel of all levels.

Legend: `b` images, `k` codebook entries, `h w` grid of a level, `hc wc` grid of the coarser level.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from vqgen.codes import Codes, conditioning_codes
from vqgen.models.pixelcnn import PixelCNN
from vqgen.runtime.compute import Compute
from vqgen.runtime.threads import threads_of_model

_BATCH_SIZE = 64


@dataclass(frozen=True)
class CodeLikelihood:
    """-log p(codes of a level | coarser codes, label) of each image.

    Attributes:
        nats: Level -> nats of all codes of each image, coarse to fine, up to the first level without a prior.
        positions: Level -> number of codes of an image, for all levels.
    """

    nats: Mapping[str, Float64[Tensor, " b"]]
    positions: Mapping[str, int]

    def metrics(self, chosen: Int64[Tensor, " chosen"], pixels: int) -> dict[str, float]:
        """Computes means over the images at `chosen`: nats_LEVEL per code and, if all levels have a prior, bpp.

        Args:
            chosen: Indices of images.
            pixels: Pixels of an image; bpp divides the bits of all its codes by them.
        """
        means = {level: float(nats[chosen].mean()) for level, nats in self.nats.items()}
        metrics = {f"nats_{level}": nats / self.positions[level] for level, nats in means.items()}
        if len(means) == len(self.positions):
            metrics["bpp"] = sum(means.values()) / math.log(2) / pixels
        return metrics


def code_likelihood(
    priors: Mapping[str, PixelCNN], codes: Codes, labels: Int64[Tensor, " b"], compute: Compute
) -> CodeLikelihood:
    """Computes the likelihood of codes under the priors, level by level, up to the first level without a prior.

    Args:
        priors: Level -> prior, in evaluation mode, on the device of `compute`.
        codes: Codes of the images, all levels.
        labels: -1 for no label.
        compute: Device and dtype.
    """
    nats: dict[str, Tensor] = {}
    for level in codes.levels:
        if level not in priors:
            break  # p(codes) is a product from coarse to fine: without this factor the finer ones give no bpp
        coarser = conditioning_codes(priors[level].config, codes.grids)
        nats[level] = _nats(priors[level], codes.grids[level], coarser, labels, compute)
    return CodeLikelihood(nats, {level: grid[0].numel() for level, grid in codes.grids.items()})


@torch.no_grad()
def log_probabilities(
    prior: PixelCNN,
    codes: Int64[Tensor, "b h w"],
    coarser: Int64[Tensor, "b hc wc"] | None,
    labels: Int64[Tensor, " b"],
    compute: Compute,
) -> Float32[Tensor, "b h w k"]:
    """Computes log p(code | earlier codes, coarser codes, label) of every codebook entry at every position, on the CPU.

    Args:
        prior: The prior of the level, in evaluation mode, on the device of `compute`.
        codes: Codes of the level.
        coarser: The codes that condition it, from `conditioning_codes`; None for the coarsest level.
        labels: -1 for no label.
        compute: Device and dtype.
    """
    parts = []
    for own, label, condition in _batches(prior, codes, coarser, labels, compute):
        parts.append(prior(own, label, condition).float().log_softmax(dim=1).movedim(1, -1).cpu())
    return torch.cat(parts)


@torch.no_grad()
def _nats(
    prior: PixelCNN,
    codes: Int64[Tensor, "b h w"],
    coarser: Int64[Tensor, "b hc wc"] | None,
    labels: Int64[Tensor, " b"],
    compute: Compute,
) -> Float64[Tensor, " b"]:
    """Computes -log p(codes of one level | coarser codes, label) of each image, on the CPU."""
    return torch.cat(
        [
            -prior.log_likelihood(own, label, condition).cpu()
            for own, label, condition in _batches(prior, codes, coarser, labels, compute)
        ]
    )


def _batches(
    prior: PixelCNN, codes: Tensor, coarser: Tensor | None, labels: Tensor, compute: Compute
) -> Iterator[tuple[Tensor, Tensor, Float[Tensor, "b c h w"] | None]]:
    """Yields codes, labels and conditions on the device, some images at a time, within the dtype of `compute`."""
    with threads_of_model(_BATCH_SIZE * codes.shape[1:].numel(), prior), compute.autocast():
        for rows in torch.arange(len(codes)).split(_BATCH_SIZE):
            condition = prior.encode_condition(None if coarser is None else coarser[rows].to(compute.device))
            yield codes[rows].to(compute.device), labels[rows].to(compute.device), condition
