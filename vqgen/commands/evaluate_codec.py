"""`vqgen evaluate-codec`: measure compressed images beside JPEG, WebP and AVIF."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import DataError

if TYPE_CHECKING:
    from vqgen.codec.rate_distortion import Measured


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
    from vqgen.codec.rate_distortion import compare, curves, table
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.files import write_json
    from vqgen.pipeline import VQGenPipeline
    from vqgen.progress import ProgressBar

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images([arguments.folder], pipe.label_map)
    images = images.subset(list(range(len(images)))[: arguments.images])
    pictures, names, rows = [], [], []
    with ProgressBar(len(images), "evaluate", "image", show=not arguments.quiet) as bar:
        for name, picture in read_all(images):
            rows += compare(pipe.codec, [picture], arguments.coder)
            names.append(name)
            pictures.append(picture)
            bar.update()
    if not rows:
        raise DataError(f"{arguments.folder}: none of the {len(images)} images could be read")
    print(f"{len(rows)} images; the other formats at the quality whose file is nearest to ours:")
    print("\n".join(table(rows)))
    if arguments.json or arguments.plot:
        figures = _figures(arguments, names, rows, curves(pipe.codec, pictures))
        if arguments.json:
            write_json(Path(arguments.json), figures)
        if arguments.plot:
            from vqgen.report import plot_rate_distortion

            plot_rate_distortion(figures["curves"], figures["means"]["vqgen"], Path(arguments.plot))
    return 0 if len(rows) == len(images) else 1


def _figures(
    arguments: argparse.Namespace,
    names: Sequence[str],
    rows: "Sequence[Mapping[str, Measured]]",
    curves: dict[str, list[dict[str, float]]],
) -> dict[str, Any]:
    from dataclasses import asdict

    from vqgen.codec.rate_distortion import means

    return {
        "checkpoint": str(arguments.checkpoint),
        "coder": arguments.coder,
        "means": {name: means([row[name] for row in rows]) for name in rows[0]},
        "images": {
            name: {format_name: asdict(each) for format_name, each in row.items()}
            for name, row in zip(names, rows, strict=True)
        },
        "curves": curves,
    }
