"""`vqgen evaluate-codec`: compares compressed images with JPEG, WebP and AVIF."""

import argparse
import sys
from pathlib import Path

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import ConfigError, DataError

_PLOTS = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="images, or a folder to search through")
    parser.add_argument("--coder", default="auto", help="auto (default), packed, static or prior")
    parser.add_argument("--images", type=int, metavar="N", help="measure the first N images only")
    parser.add_argument("--json", metavar="FILE", help="write all measurements")
    parser.add_argument("--plot", metavar="FILE", help="draw PSNR and MS-SSIM over bits per pixel")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.evaluation.rate_distortion import compare, curve_points, document, table_rows
    from vqgen.pipeline import VQGenPipeline
    from vqgen.reports.tables import format_table
    from vqgen.runtime.progress import ProgressBar
    from vqgen.storage.files import write_json

    _check(arguments)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images([arguments.folder], pipe.label_map)
    images = images.subset(list(range(len(images)))[: arguments.images])
    compared = {}
    points = []
    with ProgressBar(len(images), "evaluate", "image", show=not arguments.quiet) as bar:
        for name, picture in read_all(images):
            try:
                compared[name] = compare(pipe.codec, picture, arguments.coder)
            except DataError as error:
                print(f"vqgen: {name}: {error}", file=sys.stderr)
                continue
            if arguments.json or arguments.plot:
                points.append(curve_points(pipe.codec, picture))
            bar.update()
    if not compared:
        raise DataError(f"{arguments.folder}: none of the {len(images)} images could be measured")
    print(f"{len(compared)} images; each other format at the quality with the file nearest in size to ours:")
    print(format_table(table_rows(list(compared.values()))))
    if arguments.json or arguments.plot:
        measured = document(compared, points)
        if arguments.json:
            origin = {"checkpoint": str(arguments.checkpoint), "coder": arguments.coder}
            write_json(Path(arguments.json), origin | measured)
        if arguments.plot:
            from vqgen.reports.plots import plot_rate_distortion

            plot_rate_distortion(measured["curves"], measured["means"]["vqgen"], Path(arguments.plot))
    return 0 if len(compared) == len(images) else 1


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, before minutes of work, arguments that would fail after them."""
    if arguments.images is not None and arguments.images < 1:
        raise ConfigError(f"--images: should be at least 1, found {arguments.images}")
    if arguments.plot and Path(arguments.plot).suffix.lower() not in _PLOTS:
        raise ConfigError(f"--plot: should end in one of {', '.join(_PLOTS)}, found {arguments.plot!r}")
