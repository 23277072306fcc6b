"""Groups images that the VQ-VAE processes together."""

from collections.abc import Iterable, Iterator
from itertools import groupby


def batches(sizes: Iterable[tuple[int, int]], most_pixels: int) -> Iterator[slice]:
    """Groups neighbours of the same size.

    Args:
        sizes: Rows and columns of each image, in pixels.
        most_pixels: Pixels of a group, at most, unless it is one image.

    Yields:
        The places of the next group.
    """
    begin = 0
    # Only neighbours, so that results stay in order and memory holds one batch.
    for (height, width), group in groupby(sizes):
        most = max(1, most_pixels // (height * width))
        end = begin + len(list(group))
        yield from (slice(first, min(first + most, end)) for first in range(begin, end, most))
        begin = end
