"""`vqgen generate`: generate class-conditional images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_output_argument,
    add_sampling_arguments,
    memory_size,
    sampling_options,
)

if TYPE_CHECKING:
    from vqgen.pipeline.base import Generated, ImagePipeline
    from vqgen.runtime.collective import Processes


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
    from vqgen.pipeline import open_pipeline
    from vqgen.reports.pictures import save_generation
    from vqgen.runtime.launch import join_processes

    processes = join_processes(arguments.device, arguments.dtype)
    pipe = open_pipeline(arguments.checkpoint, device=str(processes.device), dtype=arguments.dtype)
    output = _generate(pipe, arguments, processes)
    if processes.rank == 0:
        folder = Path(arguments.output)
        save_generation(output, pipe.label_map, folder, sampling_options(arguments) | {"keep": arguments.keep})
        nats = "" if output.log_likelihood is None else f"; {-float(output.log_likelihood.mean()):.4g} nats each"
        print(f"{len(output.images)} images in {folder}, grid.png shows them all{nats}")
    return 0


def _generate(pipe: "ImagePipeline", arguments: argparse.Namespace, processes: "Processes") -> "Generated":
    """Processes share the codes of a request; latents of a baseline are cheap, and each draws them all."""
    from vqgen.pipeline import VQGenPipeline
    from vqgen.pipeline.sharing import generate_shared

    options = sampling_options(arguments)
    common = {name: getattr(arguments, name) for name in ("seed", "keep", "batch_size", "max_memory")}
    if not isinstance(pipe, VQGenPipeline):
        return pipe(arguments.labels, arguments.images_per_label, **common, **options)
    return generate_shared(
        pipe,
        arguments.labels,
        arguments.images_per_label,
        filters=pipe.filters(**options),
        processes=processes,
        quiet=arguments.quiet,
        **common,
    )
