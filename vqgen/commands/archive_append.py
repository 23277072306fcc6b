"""`vqgen archive append`: adds images to an archive. It stays as it was until the new one is whole."""

import argparse
from typing import TYPE_CHECKING

from vqgen.commands.archives import archive_path, image_names, naming
from vqgen.commands.arguments import add_compute_arguments
from vqgen.commands.coding import add_coding_arguments, compress_pictures, find_pictures
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError, ConfigError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vqgen.codec import Codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the act."""
    parser.add_argument("file", metavar="FILE", help="an archive *.vqga")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, and folders to search through")
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help="the pipeline that made it")
    add_coding_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    add_compute_arguments(parser)


def act(arguments: argparse.Namespace) -> int:
    """Adds the images; returns 1 if some could not be read or coded."""
    from vqgen.codec.sinks import open_appending_sink
    from vqgen.pipeline import VQGenPipeline

    path = archive_path(arguments.file)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    images = find_pictures(pipe, arguments.paths, arguments)
    before = path.stat().st_size
    count = _check_new(pipe.codec, path, images.names)
    tally = Tally(len(images))
    with open_appending_sink(pipe.codec, path, coder=arguments.coder, verify=not arguments.no_verify) as sink:
        totals = compress_pictures(pipe, images, sink, tally, arguments)
    size = path.stat().st_size
    print(
        f"{counted(totals.images, 'image')} appended to {shown(str(path))}, which has {count + totals.images} now: "
        f"{size - before} bytes more, {size} together{tally.ending()}"
    )
    return tally.exit_code


def _check_new(codec: "Codec", path: "Path", names: "Sequence[str]") -> int:
    """Checks that no image has the name of one that the archive has; returns the number of its images.

    Raises:
        BitstreamError: The index is damaged, or another pipeline made the archive.
        ConfigError: A name is taken.
    """
    from vqgen.codec.archive_reader import ArchiveReader

    new = set(names)
    with naming(path), path.open("rb") as file:
        reader = ArchiveReader(file, codec)
        count = reader.num_images()
        for content in reader.blocks_of_names():
            if isinstance(content.images, BitstreamError):
                continue  # the blocks are copied as they are
            taken = sorted(new.intersection(image_names(content.first, content.images)))
            if taken:
                more = f", and {len(taken) - 1} more in one block" if len(taken) > 1 else ""
                raise ConfigError(
                    f"{shown(taken[0])}: {shown(str(path))} has an image of this name already{more}; rename the "
                    "picture, or leave it out"
                )
    return count
