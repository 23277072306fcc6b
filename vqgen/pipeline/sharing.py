"""Requests for images that the processes of a launch share."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from vqgen.pipeline.request import GeneratedImages, GenerationRequest
from vqgen.runtime.collective import Processes, gather_objects
from vqgen.runtime.progress import ProgressBar

if TYPE_CHECKING:
    from vqgen.pipeline.base import ImagePipeline

Output = TypeVar("Output", bound=GeneratedImages)


def generate_shared(
    pipe: "ImagePipeline[Any, Output]", request: GenerationRequest, processes: Processes, *, quiet: bool = False
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


def gather_images(part: Output | None, processes: Processes) -> Output:
    """Joins the shares of all processes, in order of rank.

    Args:
        part: The share of this process; None if there are more processes than images.
        processes: The processes of the launch.

    Returns:
        All images in every process, but their pixels only in the main process.
    """
    own = [] if part is None else [part]
    if processes.world_size == 1:
        return own[0]
    # Codes and scores are small, and every process chooses by them. Pixels are large, and the main process writes them.
    gathered = gather_objects([replace(each, pixels=each.pixels[:0]) for each in own])
    whole = type(gathered[0]).cat(gathered)
    pixels = gather_objects([each.pixels for each in own], to_main_only=True)
    return replace(whole, pixels=torch.cat(pixels)) if pixels else whole
