"""Metrics of reconstructions over a whole data set, summed batch by batch and over all processes.

Legend: `b` batch, `h w` grid, `k` codebook entries.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.pixel_errors import psnr_per_image
from vqgen.runtime.collective import all_reduce_sum


class ReconstructionSums:
    """Sums of the errors of a validation set, and histograms of its codes.

    Args:
        levels: Names of the levels.
        codebook_size: Entries k of each codebook.
        device: The device of the sums.
    """

    def __init__(self, levels: tuple[str, ...], codebook_size: int, device: torch.device) -> None:
        # Images, MSE and PSNR in one tensor: a single reduction serves all three.
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._histograms = {level: torch.zeros(codebook_size, dtype=torch.int64, device=device) for level in levels}

    def add(self, mse: Float[Tensor, " b"], codes: dict[str, Tensor]) -> None:
        """Adds one batch.

        Args:
            mse: Mean squared error of each image, of intensities in [0, 1].
            codes: Level -> codes `(b, h, w)`.
        """
        count = torch.tensor(float(mse.shape[0]), dtype=torch.float64, device=mse.device)
        self._sums += torch.stack([count, mse.sum(), psnr_per_image(mse).sum()])
        for level, grid in codes.items():
            self._histograms[level] += torch.bincount(grid.flatten(), minlength=len(self._histograms[level]))

    def result(self) -> dict[str, float]:
        """Computes means over all images of all processes, and usage and perplexity of each level.

        It is a collective operation: all processes call it.
        """
        # The reduction works in place; a copy leaves the process its own sums, so that more batches can follow.
        images, mse, psnr = all_reduce_sum(self._sums.clone()).tolist()
        metrics = {"mse": mse / images, "psnr": psnr / images}
        for level, histogram in self._histograms.items():
            used = code_usage(all_reduce_sum(histogram.clone()))
            metrics |= {f"usage_{level}": used.usage, f"perplexity_{level}": used.perplexity}
        return metrics
