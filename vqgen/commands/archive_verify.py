"""`vqgen archive verify`: checks every image of an archive, and names the damaged ones."""

import argparse
from collections.abc import Iterator
from io import BufferedIOBase
from typing import TYPE_CHECKING

from vqgen.commands.archives import archive_path, image_names, naming, numbered
from vqgen.commands.arguments import add_compute_arguments
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError
from vqgen.storage.names import counted, shown

if TYPE_CHECKING:
    from vqgen.codec import Codec

Finding = tuple[str | None, BitstreamError | None, int]
"""The name of a damaged image, if it is known; the damage, or None for sound images; and the number of images."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the act."""
    parser.add_argument("file", metavar="FILE", help="an archive *.vqga")
    parser.add_argument(
        "--checkpoint",
        metavar="CHECKPOINT",
        help="the pipeline that made it: decodes every image and compares its checksum",
    )
    add_compute_arguments(parser)


def act(arguments: argparse.Namespace) -> int:
    """Checks the images; returns 1 if some of them are damaged."""
    path = archive_path(arguments.file)
    codec = None
    if arguments.checkpoint:
        from vqgen.pipeline import VQGenPipeline

        pipe = VQGenPipeline.from_pretrained(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
        codec = pipe.codec
    with naming(path), path.open("rb") as file:
        found = list(_checked(file, codec) if codec else _checked_structure(file))
    tally = Tally(sum(count for _, _, count in found))
    for name, damage, count in found:
        if damage is None:
            tally.done += count
        else:
            tally.fail(path.name if name is None else f"{path.name}: {name}", damage, count)
    if tally.total:
        tally.check_any(shown(str(path)), "checked without a fault")
    checked = "sound, with the codes that were written"
    if codec is None:
        checked = "sound as far as it shows without the codes: names, sizes and lengths; --checkpoint decodes the codes"
    done = f"{counted(tally.done, 'image')} in {shown(str(path))} {'is' if tally.done == 1 else 'are'}"
    print(f"{done} {checked}{tally.ending()}")
    return tally.exit_code


def _checked(file: BufferedIOBase, codec: "Codec") -> Iterator[Finding]:
    """Decodes all images; yields the damaged ones by name, unless the names of their block are damaged, too."""
    from vqgen.codec.archive_reader import ArchiveReader

    reader = ArchiveReader(file, codec)
    # Side by side: the names of a block are at its beginning, and known though its codes are damaged.
    for content, named in zip(reader.blocks(), reader.blocks_of_names(), strict=True):
        if not isinstance(content.images, BitstreamError):
            yield None, None, content.count
        elif isinstance(named.images, BitstreamError):
            yield None, numbered(content, content.images), content.count
        else:
            for name in image_names(named.first, named.images):
                yield name, content.images, 1
    yield from _checked_end(file)


def _checked_structure(file: BufferedIOBase) -> Iterator[Finding]:
    """Yields the damage that shows without the pipeline, as `_checked`."""
    from vqgen.codec.archive_list import check_structure
    from vqgen.commands.archives import archive_rules

    rules, _ = archive_rules(file, None)
    for content in check_structure(file, rules):
        damage = numbered(content, content.images) if isinstance(content.images, BitstreamError) else None
        yield None, damage, content.count
    yield from _checked_end(file)


def _checked_end(file: BufferedIOBase) -> Iterator[Finding]:
    """Yields the damage to the end of the blocks. Damage to the index has been found in the place of a block."""
    from vqgen.codec.archive_layout import read_index
    from vqgen.codec.archive_list import check_end

    try:
        read_index(file)
    except BitstreamError:
        return
    try:
        check_end(file)
    except BitstreamError as error:
        yield None, error, 1
