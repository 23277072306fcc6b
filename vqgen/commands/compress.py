"""`vqgen compress`: turns images into small files."""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_overwrite_argument
from vqgen.commands.outputs import OutputFolder, check_files
from vqgen.commands.tally import Tally

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqgen.codec import Codec, ImageCodes
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
    add_overwrite_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read, coded or written."""
    from vqgen.codec.labels import choose_labels
    from vqgen.commands.inputs import batches, collect_images, read_all
    from vqgen.evaluation.codec_totals import CompressionTotals
    from vqgen.pipeline import VQGenPipeline
    from vqgen.runtime.progress import ProgressBar

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    choose_labels(pipe.codec.models, [], _label(arguments.label))  # a wrong label is refused before the first image
    keep_alpha = arguments.alpha == "keep"
    images = collect_images(arguments.paths, pipe.label_map, keep_alpha=keep_alpha, reading=pipe.reading)
    destination = _Destination(pipe.codec, images.names, arguments)
    paths = dict(zip(images.names, images.read.paths, strict=True))
    totals = CompressionTotals()
    tally = Tally(len(images), too_long="rename it, or write an archive (--archive), which takes any name")
    bar = ProgressBar(len(images), "compress", "image", show=not arguments.quiet)

    def compress(batch: "Sequence[tuple[str, Image]]", sink: "Sink") -> None:
        pictures = dict(batch)
        coded = tally.work(batch, lambda part: _encode(pipe.codec, part, arguments))
        restored = {name: picture for name, (_, picture) in coded}
        for name, _ in tally.write([(name, codes) for name, (codes, _) in coded], sink.write):
            picture = restored[name]
            totals.add([pictures[name]], _bytes_of(paths[name]), None if picture is None else [picture])

    with destination.open() as sink, bar:
        for batch in batches(read_all(images, tally), lambda each: each[1].width * each[1].height):
            compress(batch, sink)
            bar.update(len(batch))
            del batch  # a large picture is gone before the next one is read
        tally.check_any(", ".join(arguments.paths), "read and written")
    print(totals.summary(destination.path, sink.bytes_written, sink.coders) + tally.ending() + destination.ending())
    return tally.exit_code


class _Destination:
    """The folder or the archive that -o names.

    Args:
        codec: The codec.
        names: Names of the images.
        arguments: The parsed words.

    Attributes:
        path: The folder or the archive.

    Raises:
        ConfigError: A file exists, or the place cannot be written.
    """

    def __init__(self, codec: "Codec", names: Sequence[str], arguments: argparse.Namespace) -> None:
        self.path = Path(arguments.output)
        self._codec = codec
        self._arguments = arguments
        self._folder = None
        if arguments.archive:
            if self.path.suffix != ".vqga":
                self.path = self.path / "images.vqga"
            check_files([self.path], arguments.overwrite)
        else:
            self._folder = OutputFolder(self.path, ".vqg", overwrite=arguments.overwrite)
            self._folder.check_names(names)

    def open(self) -> "AbstractContextManager[Sink]":
        """Opens it for writing."""
        from vqgen.codec.sinks import FolderSink, open_archive_sink

        verify = not self._arguments.no_verify
        if self._folder is None:
            return open_archive_sink(self._codec, self.path, coder=self._arguments.coder, verify=verify)
        return nullcontext(FolderSink(self._codec, self._folder.write, coder=self._arguments.coder, verify=verify))

    def ending(self) -> str:
        """Returns the end of the last line of the command."""
        return "" if self._folder is None else self._folder.beside()


def _encode(
    codec: "Codec", pictures: "Sequence[tuple[str, Image]]", arguments: argparse.Namespace
) -> "list[tuple[ImageCodes, Image | None]]":
    """Returns the codes of each picture, and for the report the picture that they decode to."""
    codes = codec.encode([picture for _, picture in pictures], label=_label(arguments.label), alpha=arguments.alpha)
    restored = codec.decode(codes) if arguments.report else [None] * len(codes)
    return list(zip(codes, restored, strict=True))


def _label(text: str) -> str | None:
    return None if text == "none" else text


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was removed in the meantime
        return 0
