"""Requests for images that the processes of a launch share."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from vqgen.config import DataConfig
from vqgen.pipeline.base import ImagePipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest
from vqgen.runtime.collective import Processes
from vqgen.runtime.progress import ProgressBar

_BYTES_OF_A_PART = 2**28
"""Bytes of the pixels that are in memory together, about: 1,300 images of 256 x 256 in colour."""

Output = TypeVar("Output", bound=GeneratedImages)


def generate_shared(
    pipe: ImagePipeline[Any, Output], request: GenerationRequest, processes: Processes, *, quiet: bool = False
) -> Iterator[Output]:
    """Generates the images of a request part by part, so that memory holds the pixels of one part.

    The processes share each part: they draw, decode and score. Together the parts are the images of `pipe.generate`, up
    to rounding. If the classifier chooses the images, a part has all candidates of a label.

    Args:
        pipe: The same pipeline in every process.
        request: The same request in every process, with a seed.
        processes: The processes of the launch.
        quiet: Show no progress bar.

    Yields:
        The next images in every process, but their pixels only in the main process.

    Raises:
        ConfigError: A number is out of its range.
        DataError: A label is unknown.
        CheckpointError: A prior or the classifier is missing.
    """
    # The bar of the main process counts its own share. The shares of all processes take about as long.
    total = len(processes.share(pipe.count(request)))
    with ProgressBar(total, "samples", "image", show=processes.rank == 0 and not quiet) as bar:
        size = _size_of_a_part(pipe.parts.data, request.batch_size * processes.world_size)
        yield from pipe.generate_parts(request, size, processes=processes, progress=bar.update)


def _size_of_a_part(data: DataConfig, batches: int) -> int:
    """Returns the number of images of a part: whole batches of all processes, which are then those of one part."""
    return max(1, _BYTES_OF_A_PART // (data.channels * data.image_size**2) // batches) * batches


def mean_nats(log_likelihoods: Sequence[Tensor | None]) -> float | None:
    """Averages the negative log-likelihood of all images.

    Args:
        log_likelihoods: `(b,)` float64 of each part of a request; None for a model that has none.
    """
    known = [values for values in log_likelihoods if values is not None]
    return float(-torch.cat(known).mean()) if known else None
