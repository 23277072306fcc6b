"""`vqgen evaluate-codec`: compares compressed images with JPEG, WebP and AVIF."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_overwrite_argument,
    whole_number,
)
from vqgen.commands.outputs import check_files
from vqgen.commands.tally import Tally
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.codec import Codec

_PLOTS = (".png", ".pdf", ".svg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("folder", metavar="FOLDER", help="images, or a folder to search through")
    parser.add_argument("--coder", default="auto", help="auto (default), packed, static or prior")
    parser.add_argument("--images", type=whole_number, metavar="N", help="measure the first N images only")
    parser.add_argument("--json", metavar="FILE", help="write all measurements")
    parser.add_argument("--plot", metavar="FILE", help="draw PSNR and MS-SSIM over bits per pixel")
    add_overwrite_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.commands.inputs import collect_images, read_all
    from vqgen.evaluation.judge.settings import left_out_notes
    from vqgen.evaluation.rate_distortion import document, left_out, table_rows
    from vqgen.pipeline import VQGenPipeline
    from vqgen.reports.tables import format_table
    from vqgen.runtime.progress import ProgressBar
    from vqgen.storage.files import write_json

    _check(arguments)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images([arguments.folder], pipe.label_map, reading=pipe.reading)
    images = images.subset(list(range(len(images)))[: arguments.images])
    tally = Tally(len(images))
    measured: dict[str, tuple[Any, Any]] = {}
    with ProgressBar(len(images), "evaluate", "image", show=not arguments.quiet) as bar:
        for each in read_all(images, tally):
            measured |= tally.write([each], lambda part: [_measure(pipe.codec, part, arguments)])
            bar.update()
    tally.check_any(arguments.folder, "measured")
    compared = {name: comparison for name, (comparison, _) in measured.items()}
    title = "each other format at the quality with the file nearest in size to ours:"
    print(f"{len(compared)} images{tally.ending()}; {title}")
    print(format_table(table_rows(list(compared.values()))))
    for note in left_out_notes(left_out(list(compared.values()))):
        print(f"  {note}")
    if arguments.json or arguments.plot:
        results = document(compared, [points for _, points in measured.values()])
        if arguments.json:
            origin = {"checkpoint": str(arguments.checkpoint), "coder": arguments.coder}
            write_json(Path(arguments.json), origin | results)
        if arguments.plot:
            from vqgen.reports.plots import plot_rate_distortion

            plot_rate_distortion(results["curves"], results["means"]["vqgen"], Path(arguments.plot))
    return tally.exit_code


def _measure(codec: "Codec", batch: "Sequence[tuple[str, Image]]", arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Returns the comparison of one picture with other formats, and its points of the curves if they are asked for."""
    from vqgen.evaluation.rate_distortion import compare, curve_points

    ((_, picture),) = batch
    points = curve_points(codec, picture) if arguments.json or arguments.plot else None
    return compare(codec, picture, arguments.coder), points


def _check(arguments: argparse.Namespace) -> None:
    """Refuses, before minutes of work, arguments that would fail after them."""
    if arguments.images is not None and arguments.images < 1:
        raise ConfigError(f"--images: should be at least 1, found {arguments.images}")
    check_files([arguments.json, arguments.plot], arguments.overwrite)
    if arguments.plot and Path(arguments.plot).suffix.lower() not in _PLOTS:
        raise ConfigError(f"--plot: should end in one of {', '.join(_PLOTS)}, found {arguments.plot!r}")
