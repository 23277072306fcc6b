"""`vqgen compress`: turns images into small files."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments
from vqgen.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.codec import Codec
    from vqgen.codec.sinks import Sink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="folder to write into; with --archive, a folder or a file *.vqga",
    )
    parser.add_argument(
        "--coder", default="auto", help="auto (default; the shortest for each level), packed, static or prior"
    )
    parser.add_argument("--label", default="none", help="label of the images: a name, an index, auto or none (default)")
    parser.add_argument("--alpha", default="drop", help="transparency: drop (default; laid on white) or keep")
    parser.add_argument("--archive", action="store_true", help="write one file with all images, images.vqga")
    parser.add_argument("--no-verify", action="store_true", help="do not decode each file again to check it")
    parser.add_argument("--report", action="store_true", help="decode the images again and print their PSNR")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some files could not be read."""
    from vqgen.commands.inputs import batches, collect_images, read_all
    from vqgen.commands.outputs import check_targets
    from vqgen.evaluation.codec_totals import CompressionTotals
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = collect_images(arguments.paths, pipe.label_map, keep_alpha=arguments.alpha == "keep")
    output = Path(arguments.output)
    archive = output if output.suffix == ".vqga" else output / "images.vqga"
    if arguments.archive:
        check_targets(archive.parent, [archive], arguments.overwrite)
    else:
        check_targets(output, [output / f"{name}.vqg" for name in images.names], arguments.overwrite)
    paths = dict(zip(images.names, images.read.paths, strict=True))
    totals = CompressionTotals()
    bar = ProgressBar(len(images), "compress", "image", show=not arguments.quiet)
    with _open_sink(pipe.codec, output, archive, arguments) as sink, bar:
        for batch in batches(_of_fitting_size(read_all(images)), lambda each: each[1].width * each[1].height):
            names = [name for name, _ in batch]
            pictures = [picture for _, picture in batch]
            codes = pipe.codec.encode(pictures, label=_label(arguments.label), alpha=arguments.alpha)
            restored = pipe.codec.decode(codes) if arguments.report else None
            totals.add(pictures, sum(paths[name].stat().st_size for name in names), restored)
            sink.write(names, codes)
            bar.update(len(batch))
        if not totals.images:
            raise DataError(f"{', '.join(arguments.paths)}: none of the {len(images)} images could be read")
    print(totals.summary(archive if arguments.archive else output, sink.bytes_written, sink.coders))
    return 0 if totals.images == len(images) else 1


def _of_fitting_size(pictures: "Iterator[tuple[str, Image]]") -> "Iterator[tuple[str, Image]]":
    """Skips pictures that are too large for a file, with a line on stderr for each."""
    from vqgen.codec import check_size

    for name, picture in pictures:
        try:
            check_size(picture.width, picture.height)
        except DataError as error:
            print(f"vqgen: {name}: {error}", file=sys.stderr)
            continue
        yield name, picture


def _open_sink(
    codec: "Codec", folder: Path, archive: Path, arguments: argparse.Namespace
) -> "AbstractContextManager[Sink]":
    from vqgen.codec.sinks import FolderSink, open_archive_sink

    verify = not arguments.no_verify
    if arguments.archive:
        return open_archive_sink(codec, archive, coder=arguments.coder, verify=verify)
    return nullcontext(FolderSink(codec, folder, coder=arguments.coder, verify=verify))


def _label(text: str) -> str | None:
    return None if text == "none" else text
