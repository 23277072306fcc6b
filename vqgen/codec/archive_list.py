"""The contents of an archive, by the heads of its blocks: names, sizes and coders, without the codes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import accumulate, pairwise

from vqgen.codec.archive_blocks import BlockContent, StoredBlock, read_each
from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.block_head import HeadRules
from vqgen.codec.header import Coder
from vqgen.codec.image_codes import ImageShape, read_alpha
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError


@dataclass(frozen=True)
class ListedImage:
    """An image of an archive.

    Attributes:
        name: Its name; None in an archive without names.
        shape: Size, colours and label.
        size: Its bytes. The images of a block share the bytes of their codes in proportion to their pixels.
        coders: The coder of each level of its block, coarse to fine.
        knows_labels: False if it may have a label that only the pipeline can tell.
    """

    name: str | None
    shape: ImageShape
    size: int
    coders: tuple[Coder, ...]
    knows_labels: bool = True


def list_images(file: BufferedIOBase, rules: HeadRules) -> Iterator[BlockContent[ListedImage]]:
    """Yields the images of an archive, block after block; of a damaged block, the damage.

    Args:
        file: The archive, which can seek.
        rules: The numbers that are known about its blocks.
    """

    def read(block: StoredBlock) -> list[ListedImage]:
        head = block.head(rules)
        alphas = [length or 0 for length in head.alpha_lengths]
        pixels = [image.shape.width * image.shape.height for image in head.images]
        shared = len(write_varint(block.size)) + block.size - sum(alphas)
        sizes = [share + alpha for share, alpha in zip(_shares(shared, pixels), alphas, strict=True)]
        coders = tuple(level.coder for level in head.levels)
        return [
            ListedImage(image.name, image.shape, size, coders, head.knows_labels)
            for image, size in zip(head.images, sizes, strict=True)
        ]

    return read_each(file, rules, read)


def check_structure(file: BufferedIOBase, rules: HeadRules) -> Iterator[BlockContent[str | None]]:
    """Checks all that can be checked without the model: heads, names, lengths and alpha planes.

    Args:
        file: The archive, which can seek.
        rules: The numbers that are known about its blocks.

    Yields:
        The names in each block, or the damage to it.
    """

    def read(block: StoredBlock) -> list[str | None]:
        head = block.head(rules)
        if len(data := block.first(block.size)) < block.size:
            raise BitstreamError(f"a block should have {block.size} bytes, found {len(data)}")
        at = head.ends[-1]
        for image, length in zip(head.images, head.alpha_lengths, strict=True):
            if length is not None:
                read_alpha(data[at : at + length], image.shape.width, image.shape.height)
                at += length
        return [image.name for image in head.images]

    return read_each(file, rules, read)


def check_end(file: BufferedIOBase) -> None:
    """Checks the index of an archive, and the 0 that ends its blocks, which readers with an index pass over.

    Raises:
        BitstreamError: One of them is damaged, or the archive is cut short.
    """
    end = HEADER_BYTES + sum(entry.length for entry in read_index(file))
    file.seek(end)
    if file.read(1) != b"\0":
        raise BitstreamError(f"a 0 should end the blocks at byte {end}, found another byte; the file is damaged")


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """Divides a total into whole numbers in proportion to weights, so that their sum is the total."""
    whole = sum(weights)
    return [
        after - before for before, after in pairwise(total * part // whole for part in accumulate(weights, initial=0))
    ]
