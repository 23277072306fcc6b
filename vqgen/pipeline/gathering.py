"""The images of a request, part by part: shared by the processes of a launch, joined, and chosen by the classifier."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from vqgen.arguments import as_instance
from vqgen.pipeline.request import GeneratedImages
from vqgen.runtime.collective import Processes, gather_objects
from vqgen.sampling.rejection import keep_surest

Output = TypeVar("Output", bound=GeneratedImages)


def as_processes(processes: object, device: torch.device) -> Processes:
    """Returns the processes that share a request; this one alone for None.

    Raises:
        ConfigError: The value is something else.
    """
    return Processes(0, 1, device) if processes is None else as_instance("processes", processes, Processes)


def chosen_parts(
    labels: list[int | None],
    row: tuple[int, int],
    size: int,
    draw: Callable[[list[int | None], range], Output],
    processes: Processes,
) -> Iterator[Output]:
    """Yields the images of a request, about `size` candidates at a time. The processes share each part.

    Args:
        labels: The labels of the request.
        row: Images of each label, and candidates to draw of each. The classifier chooses if there are more candidates.
        size: Candidates of a part; a part has all candidates of a label, or none, if the classifier chooses.
        draw: Draws the candidates of some labels, at some places among all candidates, and scores them.
        processes: The processes of the launch.
    """
    wanted, candidates = row
    # All candidates of a label stand in a row: `keep_surest` chooses among each row.
    every = [label for label in labels for _ in range(candidates)]
    if candidates > wanted:
        size = max(1, size // candidates) * candidates
    for begin in range(0, len(every), size):
        part = range(begin, min(begin + size, len(every)))
        share = processes.share(len(part))
        # Places within the whole request: an image does not depend on the number of processes.
        own = part[share.start : share.stop]
        # With more processes than images some draw nothing. They go on, because gathering needs every process.
        images = gather_images(draw(every[own.start : own.stop], own) if own else None, processes)
        # A share may end inside a row of candidates, so the choice comes after the join. All processes make the same.
        if images.label_probability is not None:
            images = images.subset(keep_surest(images.label_probability, candidates, wanted))
        yield images


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
