"""A request for images, shared by the processes of a launch."""

from collections.abc import Sequence

import torch

from vqgen.codes import Codes
from vqgen.pipeline.vqgen import GenerationOutput, Label, VQGenPipeline
from vqgen.runtime.collective import Processes, gather_objects
from vqgen.runtime.progress import ProgressBar
from vqgen.sampling import Filters


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
    plain = [({level: grid for level, grid in codes.grids.items()}, nats) for codes, nats in parts]
    return [(Codes(grids), nats) for grids, nats in gather_objects(plain)]
