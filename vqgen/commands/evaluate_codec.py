"""`vqgen evaluate-codec`: measure compressed images beside JPEG, WebP and AVIF."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vqgen.evaluation.rate_distortion import Measured

_PLOTS = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="images, or a folder to search through")
    parser.add_argument("--coder", default="auto", help="auto (default), packed, static or prior")
    parser.add_argument("--images", type=int, metavar="N", help="measure the first N images only")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--plot", metavar="FILE", help="draw PSNR and MS-SSIM over bits per pixel")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; 1 when some files could not be read."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.evaluation.rate_distortion import compare, curve_points, table
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar
    from vqgen.storage.files import write_json

    _check(arguments)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images([arguments.folder], pipe.label_map)
    images = images.subset(list(range(len(images)))[: arguments.images])
    rows, points = {}, []
    with ProgressBar(len(images), "evaluate", "image", show=not arguments.quiet) as bar:
        for name, picture in read_all(images):
            try:
                rows[name] = compare(pipe.codec, picture, arguments.coder)
            except DataError as error:
                print(f"vqgen: {name}: {error}", file=sys.stderr)
                continue
            if arguments.json or arguments.plot:
                points.append(curve_points(pipe.codec, picture))
            bar.update()
    if not rows:
        raise DataError(f"{arguments.folder}: none of the {len(images)} images could be measured")
    print(f"{len(rows)} images; the other formats at the quality whose file is nearest to ours:")
    print("\n".join(table(list(rows.values()))))
    if arguments.json or arguments.plot:
        figures = _figures(arguments, rows, points)
        if arguments.json:
            write_json(Path(arguments.json), figures)
        if arguments.plot:
            from vqgen.reports.pictures import plot_rate_distortion

            plot_rate_distortion(figures["curves"], figures["means"]["vqgen"], Path(arguments.plot))
    return 0 if len(rows) == len(images) else 1


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, before minutes of work, what could not be done after them."""
    if arguments.images is not None and arguments.images < 1:
        raise ConfigError(f"--images: should be at least 1, found {arguments.images}")
    if arguments.plot and Path(arguments.plot).suffix.lower() not in _PLOTS:
        raise ConfigError(f"--plot: should end in one of {', '.join(_PLOTS)}, found {arguments.plot!r}")


def _figures(
    arguments: argparse.Namespace,
    rows: "Mapping[str, Mapping[str, Measured]]",
    points: "Sequence[Mapping[str, Sequence[Measured]]]",
) -> dict[str, Any]:
    from dataclasses import asdict

    from vqgen.evaluation.rate_distortion import mean_curves, means

    formats = next(iter(rows.values()))
    return {
        "checkpoint": str(arguments.checkpoint),
        "coder": arguments.coder,
        "means": {name: means([row[name] for row in rows.values()]) for name in formats},
        "images": {
            name: {format_name: asdict(each) for format_name, each in row.items()} for name, row in rows.items()
        },
        "curves": mean_curves(points),
    }
