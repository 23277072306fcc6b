"""Requests for images that the processes of a launch share."""

from typing import Any, TypeVar

from vqgen.pipeline.base import ImagePipeline
from vqgen.pipeline.request import GeneratedImages, GenerationRequest
from vqgen.runtime.collective import Processes
from vqgen.runtime.progress import ProgressBar

Output = TypeVar("Output", bound=GeneratedImages)


def generate_shared(
    pipe: ImagePipeline[Any, Output], request: GenerationRequest, processes: Processes, *, quiet: bool = False
) -> Output:
    """Generates the images of a request. Each process draws, decodes and scores a contiguous share of them.

    Args:
        pipe: The same pipeline in every process.
        request: The same request in every process, with a seed.
        processes: The processes of the launch.
        quiet: Show no progress bar.

    Returns:
        All images in every process, but their pixels only in the main process.

    Raises:
        ConfigError: A number is out of its range.
        DataError: A label is unknown.
        CheckpointError: A prior or the classifier is missing.
    """
    # The bar of the main process counts its own share. The shares of all processes take about as long.
    total = len(processes.share(pipe.count(request)))
    with ProgressBar(total, "samples", "image", show=processes.rank == 0 and not quiet) as bar:
        return pipe.generate(request, processes=processes, progress=bar.update)
