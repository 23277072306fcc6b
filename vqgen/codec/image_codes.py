"""The codes of one image of any size, and all that is needed to bring it back."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import BitstreamError


@dataclass(frozen=True)
class ImageShape:
    """What is known of an image before its codes.

    Attributes:
        width: Columns, in pixels.
        height: Rows, in pixels.
        rgb: Whether it comes back in colour.
        label: Index of the label that the prior is given; None for none.
        has_alpha: Whether it has an alpha plane.
    """

    width: int
    height: int
    rgb: bool
    label: int | None = None
    has_alpha: bool = False

    def grid_sizes(self, downsample: tuple[int, ...]) -> list[tuple[int, int]]:
        """Rows and columns of the grids, coarse to fine: the image is padded to a multiple of the coarsest factor."""
        stride = downsample[0]
        height, width = -(-self.height // stride) * stride, -(-self.width // stride) * stride
        return [(height // factor, width // factor) for factor in downsample]


@dataclass(frozen=True)
class ImageCodes:
    """An image as codes.

    Attributes:
        shape: Size, colours and label.
        grids: Level -> int64 `(h, w)`, coarse to fine.
        alpha: The alpha plane, a byte a pixel, row by row; None without one.
    """

    shape: ImageShape
    grids: Mapping[str, NDArray[np.int64]]
    alpha: bytes | None = None

    def crc(self, start: int = 0) -> int:
        """CRC-32 of the codes as uint16, level after level, row by row, and of the alpha plane.

        Args:
            start: CRC-32 of what comes before.
        """
        for grid in self.grids.values():
            start = zlib.crc32(grid.astype("<u2").tobytes(), start)
        return zlib.crc32(self.alpha or b"", start)

    def equals(self, other: "ImageCodes") -> bool:
        """Whether everything is the same."""
        same = self.shape == other.shape and self.alpha == other.alpha and list(self.grids) == list(other.grids)
        return same and all(np.array_equal(self.grids[level], other.grids[level]) for level in self.grids)


def wrong_codes(whose: str) -> BitstreamError:
    """What a wrong CRC-32 of decoded codes means.

    Args:
        whose: What they are the codes of.
    """
    return BitstreamError(
        f"the codes of {whose} are not those that were written (CRC-32): the file is damaged, "
        "or this machine computes the prior otherwise than the one that wrote it"
    )


def write_alpha(plane: bytes, width: int) -> bytes:
    """Compresses an alpha plane: each row less the one above it, deflated."""
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, width)
    return zlib.compress(np.diff(rows, axis=0, prepend=np.zeros((1, width), dtype=np.uint8)).tobytes(), 9)


def read_alpha(segment: bytes, width: int, height: int) -> bytes:
    """Reads what `write_alpha` wrote.

    Raises:
        BitstreamError: It is damaged, or not of that size.
    """
    inflate = zlib.decompressobj()
    try:
        plane = inflate.decompress(segment, width * height + 1)
    except zlib.error as error:
        raise BitstreamError(f"the alpha plane is damaged: {error}") from error
    if len(plane) != width * height or not inflate.eof or inflate.unused_data:
        raise BitstreamError(f"the alpha plane should be {width} x {height} bytes, found another number")
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(height, width)
    return np.cumsum(rows, axis=0, dtype=np.uint8).tobytes()
