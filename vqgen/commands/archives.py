"""An archive on the command line: its file, and the names of its images in messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.errors import BitstreamError, DataError
from vqgen.storage.names import shown

if TYPE_CHECKING:
    from vqgen.codec.archive_blocks import BlockContent
    from vqgen.codec.block_head import HeadRules


def archive_path(text: str) -> Path:
    """Returns the path of an archive.

    Args:
        text: The word on the command line.

    Raises:
        DataError: There is no such file.
    """
    path = Path(text)
    if not path.is_file():
        found = "this is a folder; name a file in it" if path.is_dir() else "there is no such file"
        raise DataError(f"{shown(text)}: {found}")
    return path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the path of an archive into errors about its content.

    Args:
        path: The archive.

    Raises:
        BitstreamError: The archive is damaged, or another pipeline made it.
    """
    try:
        yield
    except BitstreamError as error:
        raise BitstreamError(f"{shown(str(path))}: {error}") from error


def image_names(first: int, names: Sequence[str | None]) -> list[str]:
    """Returns the name of each image of a block; an image without a name is called by its number.

    Args:
        first: Number of the first image in the archive.
        names: The names in the block.
    """
    return [name or f"{number:05d}" for number, name in enumerate(names, start=first)]


def numbered(content: "BlockContent[Any]", error: BitstreamError) -> BitstreamError:
    """Returns the damage to a block with the numbers of its images, which stand for names that are not known.

    Args:
        content: The block.
        error: The damage.
    """
    return BitstreamError(f"{numbers_of(content)}: {error}")


def numbers_of(content: "BlockContent[Any]") -> str:
    """Returns the numbers of the images of a block, for messages."""
    last = content.first + content.count - 1
    numbers = f"image {last}" if content.count == 1 else f"images {content.first} to {last}"
    return f"{numbers}, counted from 0"


def archive_rules(file: BufferedIOBase, checkpoint: str | None) -> "tuple[HeadRules, Sequence[str]]":
    """Reads the header of an archive, at its beginning.

    Args:
        file: The archive.
        checkpoint: The pipeline that made it; None without it.

    Returns:
        The numbers that are known about its blocks, and the names of the labels; no names without the pipeline.

    Raises:
        BitstreamError: This is not an archive, or another pipeline made it.
    """
    from vqgen.codec.archive_layout import HEADER_BYTES, ArchiveHeader
    from vqgen.codec.block_head import HeadRules

    if checkpoint is None:
        return HeadRules(ArchiveHeader.parse(file.read(HEADER_BYTES)).num_levels), ()
    from vqgen.codec.archive_reader import ArchiveReader
    from vqgen.pipeline import VQGenPipeline

    pipe = VQGenPipeline.from_pretrained(checkpoint, device="cpu")
    ArchiveReader(file, pipe.codec)  # refuses the archive of another pipeline
    return HeadRules(len(pipe.levels), pipe.vqvae.config.grid_factors, len(pipe.label_map)), pipe.label_map.names
