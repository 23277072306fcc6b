"""`vqgen generate`: generate class-conditional images."""

import argparse

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_output_argument,
    add_sampling_arguments,
    generation_request,
    memory_size,
)
from vqgen.commands.outputs import OutputFolder
from vqgen.storage.names import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    add_output_argument(parser)
    parser.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="names, or else indices: 3 or index:3 (default: every label)"
    )
    add_sampling_arguments(parser, images_per_label=8)
    parser.add_argument(
        "--max-memory",
        type=memory_size,
        metavar="SIZE",
        help="memory for sampling, such as 500MB (default: the free memory)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.pipeline import open_pipeline
    from vqgen.pipeline.sharing import generate_shared, mean_nats
    from vqgen.reports.samples import SampleWriter
    from vqgen.runtime.launch import join_processes

    folder = OutputFolder(arguments.output, whole=True, overwrite=arguments.overwrite)
    # Under torchrun each process draws a share of the images. Without a launcher there is one process.
    processes = join_processes(arguments.device, arguments.dtype)
    pipe = open_pipeline(arguments.checkpoint, device=str(processes.device), dtype=arguments.dtype)
    request = generation_request(arguments)
    labels = [label for label in pipe.resolve_labels(request.labels) for _ in range(request.images_per_label)]
    writer = SampleWriter(folder.path, pipe.label_map, labels, request.describe())
    log_likelihoods = []
    for part in generate_shared(pipe, request, processes, quiet=arguments.quiet):
        if processes.rank == 0:
            if not writer.paths:  # something is there to take the place of the earlier samples
                folder.remove_samples()
            writer.add(part)
        log_likelihoods.append(part.log_likelihood)
    if processes.rank == 0:
        shows = writer.finish()
        nats = mean_nats(log_likelihoods)
        each = "" if nats is None else f"; {nats:.4g} nats each"
        beside = folder.beside([*writer.paths, folder.path / "grid.png", folder.path / "samples.json"])
        print(f"{counted(len(labels), 'image')} in {folder.path}, grid.png shows {shows}{each}{beside}")
    return 0
