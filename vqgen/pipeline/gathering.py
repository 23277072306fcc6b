"""The join of the images that the processes of a launch generated."""

from dataclasses import replace
from typing import TypeVar

import torch

from vqgen.arguments import as_instance
from vqgen.pipeline.request import GeneratedImages
from vqgen.runtime.collective import Processes, gather_objects

Output = TypeVar("Output", bound=GeneratedImages)


def as_processes(processes: object, device: torch.device) -> Processes:
    """Returns the processes that share a request; this one alone for None.

    Raises:
        ConfigError: The value is something else.
    """
    return Processes(0, 1, device) if processes is None else as_instance("processes", processes, Processes)


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
