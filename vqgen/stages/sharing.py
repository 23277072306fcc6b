"""A request for images, shared by the processes of a launch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vqgen.codes import Codes
from vqgen.pipeline import GenerationOutput, Label, VQGenPipeline
from vqgen.runtime.compute import Compute
from vqgen.runtime.progress import ProgressBar
from vqgen.sampling import Filters


@dataclass(frozen=True)
class Processes:
    """The processes of a launch.

    Attributes:
        rank: This one, in [0, world_size).
        world_size: All of them.
        device: This one's device.
    """

    rank: int
    world_size: int
    device: torch.device


def join_processes(device: str, dtype: str) -> Processes:
    """Joins the processes that a launcher started; without a launcher there is one.

    Raises:
        ConfigError: There is no such device or number format, or not all processes joined.
    """
    compute = Compute.resolve(device, dtype)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Processes(0, 1, compute.device)
    from vqgen.stages.context import make_accelerator

    accelerator = make_accelerator(compute)
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device)


def generate_shared(
    pipe: VQGenPipeline,
    labels: Sequence[Label] | None,
    images_per_label: int,
    *,
    seed: int,
    filters: Sequence[Filters],
    batch_size: int,
    processes: Processes,
    keep: float = 1.0,
    max_memory: int | None = None,
    quiet: bool = False,
) -> GenerationOutput:
    """Generates a request, each process a contiguous share of it; see `VQGenPipeline.__call__`.

    Returns:
        The whole request; its pictures only in the main process.

    Raises:
        ConfigError: A number is out of its range.
        DataError: A label is unknown.
    """
    candidates = pipe.candidates(images_per_label, keep)
    indices = [label for label in pipe.resolve_labels(labels) for _ in range(candidates)]
    rank, world = processes.rank, processes.world_size
    begin, end = len(indices) * rank // world, len(indices) * (rank + 1) // world
    parts: list[tuple[Codes, torch.Tensor]] = []
    if end > begin:
        with ProgressBar(end - begin, "samples", "image", show=rank == 0 and not quiet) as bar:
            mine = range(begin, end)
            parts.append(
                pipe.sample(
                    indices[begin:end],
                    mine,
                    seed=seed,
                    filters=filters,
                    batch_size=batch_size,
                    max_memory=max_memory,
                    progress=bar.update,
                )
            )
    gathered = _gather(parts) if world > 1 else parts
    codes = Codes.cat([part for part, _ in gathered])
    log_likelihood = torch.cat([nats for _, nats in gathered])
    return pipe.finish(
        codes,
        log_likelihood,
        indices,
        seed,
        candidates=candidates,
        images_per_label=images_per_label,
        pictures=rank == 0,
    )


def _gather(parts: list[tuple[Codes, torch.Tensor]]) -> list[tuple[Codes, torch.Tensor]]:
    """All processes' parts, in order of rank."""
    from accelerate.utils import gather_object

    plain = [({level: grid for level, grid in codes.grids.items()}, nats) for codes, nats in parts]
    return [(Codes(grids), nats) for grids, nats in gather_object(plain)]
