"""`vqgen compress`: turns images into small files."""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import add_checkpoint_argument, add_compute_arguments, add_overwrite_argument
from vqgen.commands.coding import TOO_LONG, add_coding_arguments, compress_pictures, find_pictures
from vqgen.commands.outputs import OutputFolder, check_files
from vqgen.commands.tally import Tally

if TYPE_CHECKING:
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
    add_coding_arguments(parser)
    parser.add_argument("--archive", action="store_true", help="write one file with all images, images.vqga")
    parser.add_argument("--report", action="store_true", help="decode the images again and print their PSNR")
    add_overwrite_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 1 if some images could not be read, coded or written."""
    from vqgen.pipeline import VQGenPipeline

    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = find_pictures(pipe, arguments.paths, arguments)
    destination = _Destination(pipe.codec, images.names, arguments)
    tally = Tally(len(images), too_long=TOO_LONG)
    with destination.open() as sink:
        totals = compress_pictures(pipe, images, sink, tally, arguments, report=arguments.report)
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
