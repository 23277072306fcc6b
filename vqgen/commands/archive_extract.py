"""`vqgen archive extract`: decodes single images of an archive. Only their blocks are read."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.archives import archive_path, image_names, naming
from vqgen.commands.arguments import add_compute_arguments, add_overwrite_argument
from vqgen.commands.outputs import OutputFolder
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError, ConfigError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from vqgen.codec.archive_reader import ArchiveReader

_MOST_SHOWN = 5
"""Missing names that a message has, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the act."""
    parser.add_argument("file", metavar="FILE", help="an archive *.vqga")
    parser.add_argument("names", nargs="+", metavar="NAME", help="names of images, as `vqgen archive list` shows them")
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help="the pipeline that made it")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write into (default: the name of the archive without .vqga)"
    )
    add_overwrite_argument(parser)
    add_compute_arguments(parser)


def act(arguments: argparse.Namespace) -> int:
    """Decodes the images; returns 1 if some of them are damaged or could not be written."""
    from vqgen.codec.archive_reader import ArchiveReader
    from vqgen.pipeline import VQGenPipeline

    path = archive_path(arguments.file)
    folder = OutputFolder(arguments.output or path.stem, overwrite=arguments.overwrite)
    pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    with path.open("rb") as file:
        with naming(path):
            reader = ArchiveReader(file, pipe.codec)
            wanted = _find(reader, list(dict.fromkeys(arguments.names)), path)
        folder.check_names(wanted.values())
        tally = Tally(len(wanted), too_long="the picture has to be compressed under a shorter name")
        for content in reader.blocks(wanted):
            inside = [number for number in range(content.first, content.first + content.count) if number in wanted]
            for number in inside:
                name = wanted[number]
                if isinstance(content.images, BitstreamError):
                    tally.fail(f"{path.name}: {name}", content.images)
                    continue
                codes = content.images[number - content.first][1]
                pictures = tally.work([(f"{path.name}: {name}", codes)], lambda part: pipe.codec.decode([part[0][1]]))
                tally.write(pictures, lambda part, name=name: folder.write([(name, part[0][1].save)]))
    tally.check_any(shown(str(path)), "decoded and written")
    print(f"{counted(tally.done, 'image')} in {folder.path}{tally.ending()}{folder.beside()}")
    return tally.exit_code


def _find(reader: "ArchiveReader", names: Sequence[str], path: Path) -> dict[int, str]:
    """Returns the numbers of the images of some names, with their names.

    Raises:
        ConfigError: The archive has no image of a name.
    """
    asked = set(names)
    wanted: dict[int, str] = {}
    known: list[str] = []
    lost = 0
    for content in reader.blocks_of_names():
        if isinstance(content.images, BitstreamError):
            lost += content.count
            continue
        listed = image_names(content.first, content.images)
        wanted |= {number: name for number, name in enumerate(listed, start=content.first) if name in asked}
        known += listed
    missing = [name for name in names if name not in wanted.values()]
    if missing:
        more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
        damage = f"; {lost} of its images have names that are damaged" if lost else ""
        raise ConfigError(
            f"NAME: should be names of images of {shown(str(path))}, found "
            f"{', '.join(_with_nearest(name, known) for name in missing[:_MOST_SHOWN])}{more}{damage}; "
            "`vqgen archive list` shows all names"
        )
    return wanted


def _with_nearest(name: str, known: Sequence[str]) -> str:
    """Returns a name that is missing, with the names that are most like it."""
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    like = f"nearest: {', '.join(repr(shown(each)) for each in nearest)}" if nearest else "no name is like it"
    return f"{shown(name)!r} ({like})"
