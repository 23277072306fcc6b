"""`vqgen generate`: generate class-conditional images."""

import argparse
from pathlib import Path

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_output_argument,
    add_sampling_arguments,
    memory_size,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    add_output_argument(parser)
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="names, or else indices (default: every label)")
    add_sampling_arguments(parser, images_per_label=8)
    parser.add_argument(
        "--max-memory",
        type=memory_size,
        metavar="SIZE",
        help="memory for sampling, as 500MB (default: what is free)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.pipeline import VQGenPipeline
    from vqgen.report import save_generation
    from vqgen.stages.sharing import generate_shared, join_processes

    processes = join_processes(arguments.device, arguments.dtype)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=str(processes.device), dtype=arguments.dtype)
    output = generate_shared(
        pipe,
        arguments.labels,
        arguments.images_per_label,
        seed=arguments.seed,
        filters=pipe.filters(arguments.temperature, arguments.top_k, arguments.top_p, arguments.guidance_scale),
        keep=arguments.keep,
        batch_size=arguments.batch_size,
        max_memory=arguments.max_memory,
        processes=processes,
        quiet=arguments.quiet,
    )
    if processes.rank == 0:
        folder = Path(arguments.output)
        save_generation(output, pipe.label_map, folder)
        nats = -float(output.log_likelihood.mean())
        print(f"{len(output.images)} images in {folder}, grid.png shows them all; {nats:.4g} nats each")
    return 0
