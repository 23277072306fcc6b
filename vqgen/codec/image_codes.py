"""The codes of one image of any size, and everything else that its decoding needs."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import BitstreamError, DataError


@dataclass(frozen=True)
class ImageShape:
    """The properties of an image that precede its codes.

    Attributes:
        width: Columns, in pixels.
        height: Rows, in pixels.
        rgb: True if it is decoded to RGB, False if to grey.
        label: Index of the label that conditions the prior; None without a label.
        has_alpha: True if it has an alpha plane.
    """

    width: int
    height: int
    rgb: bool
    label: int | None = None
    has_alpha: bool = False

    def grid_sizes(self, factors: tuple[int, ...]) -> list[tuple[int, int]]:
        """Returns the rows and columns of each level's grid, for the image padded to a multiple of the stride.

        Args:
            factors: Total downsampling of each grid, coarse to fine; the first is the stride.
        """
        stride = factors[0]
        height = -(-self.height // stride) * stride
        width = -(-self.width // stride) * stride
        return [(height // factor, width // factor) for factor in factors]


@dataclass(frozen=True)
class ImageCodes:
    """An image as codes.

    Attributes:
        shape: Size, colours and label.
        grids: Level -> int64 `(h, w)`, coarse to fine. A preview lacks levels.
        alpha: The alpha plane, a byte a pixel, row by row; None without an alpha plane.
        cut: The reason why a cut file gives less than was asked for; None if nothing is missing.
        written: Level -> the segment that the prior wrote while it chose these codes for a rate; None for other codes.
    """

    shape: ImageShape
    grids: Mapping[str, NDArray[np.int64]]
    alpha: bytes | None = None
    cut: str | None = None
    written: Mapping[str, bytes] | None = field(default=None, repr=False, compare=False)

    @property
    def levels(self) -> tuple[str, ...]:
        """The names of its levels, coarse to fine."""
        return tuple(self.grids)

    def crc(self, start: int = 0) -> int:
        """Computes the CRC-32 of the codes as uint16, level after level, row by row, and of the alpha plane.

        Args:
            start: CRC-32 of the bytes before.
        """
        # 16 bits hold every code, as codebooks have at most 65,536 entries.
        for grid in self.grids.values():
            start = zlib.crc32(grid.astype("<u2").tobytes(), start)
        return zlib.crc32(self.alpha or b"", start)

    def equals(self, other: "ImageCodes") -> bool:
        """Compares shape, codes and alpha plane."""
        same = self.shape == other.shape and self.alpha == other.alpha and list(self.grids) == list(other.grids)
        return same and all(np.array_equal(self.grids[level], other.grids[level]) for level in self.grids)


def check_whole(codes: ImageCodes, levels: tuple[str, ...]) -> ImageCodes:
    """Returns the codes of an image that can be written.

    Args:
        codes: The image.
        levels: The levels of the model.

    Raises:
        DataError: Levels or the alpha plane are missing, as in a preview.
    """
    if codes.levels != levels or codes.shape.has_alpha != (codes.alpha is not None):
        lacking = "without its alpha plane" if codes.levels == levels else ", ".join(codes.levels) or "none"
        raise DataError(
            f"codes: should have the levels {', '.join(levels)} to be written, found {lacking}; a preview cannot be "
            "written, read the whole file"
        )
    return codes


def wrong_codes(owner: str) -> BitstreamError:
    """Builds the error for decoded codes with a wrong CRC-32.

    Args:
        owner: The owner of the codes, with its article.
    """
    return BitstreamError(
        f"the decoded codes of {owner} differ from the written ones (wrong CRC-32): the file is damaged, "
        "or this machine computes the prior differently from the machine that wrote it"
    )


def write_alpha(plane: bytes, width: int) -> bytes:
    """Compresses an alpha plane: differences between neighbouring rows, deflated.

    Args:
        plane: A byte a pixel, row by row.
        width: Pixels of a row.
    """
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, width)
    # Transparency changes slowly down the image, so most differences are 0 and deflate well. uint8 wraps modulo 256.
    differences = np.diff(rows, axis=0, prepend=np.zeros((1, width), dtype=np.uint8))
    return zlib.compress(differences.tobytes(), 9)


def read_alpha(segment: bytes, width: int, height: int) -> bytes:
    """Decompresses an alpha plane that `write_alpha` wrote.

    Args:
        segment: The compressed plane.
        width: Pixels of a row.
        height: Rows.

    Raises:
        BitstreamError: The segment is damaged, or its plane has another size.
    """
    inflate = zlib.decompressobj()
    try:
        # One byte more than the plane is enough to notice a plane that is too long, however long it is.
        plane = inflate.decompress(segment, width * height + 1)
    except zlib.error as error:
        raise BitstreamError(f"the alpha plane is damaged: {error}") from error
    if len(plane) != width * height or not inflate.eof or inflate.unused_data:
        raise BitstreamError(f"the alpha plane should have {width} x {height} bytes, found another number")
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(height, width)
    return np.cumsum(rows, axis=0, dtype=np.uint8).tobytes()  # wraps modulo 256, as the differences did
