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
    from vqgen.pipeline.sharing import generate_shared
    from vqgen.reports.samples import save_generation
    from vqgen.runtime.launch import join_processes

    folder = OutputFolder(arguments.output, whole=True, overwrite=arguments.overwrite)
    # Under torchrun each process draws a share of the images. Without a launcher there is one process.
    processes = join_processes(arguments.device, arguments.dtype)
    pipe = open_pipeline(arguments.checkpoint, device=str(processes.device), dtype=arguments.dtype)
    request = generation_request(arguments)
    output = generate_shared(pipe, request, processes, quiet=arguments.quiet)
    if processes.rank == 0:
        folder.remove_samples()
        pictures = save_generation(output, pipe.label_map, folder.path, request.describe())
        nats = "" if output.log_likelihood is None else f"; {-float(output.log_likelihood.mean()):.4g} nats each"
        beside = folder.beside([*pictures, folder.path / "grid.png", folder.path / "samples.json"])
        print(f"{len(output.labels)} images in {folder.path}, grid.png shows them all{nats}{beside}")
    return 0
