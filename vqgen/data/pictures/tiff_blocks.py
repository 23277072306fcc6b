"""The strips and tiles of a TIFF file: from packed bytes to numbers.

Legend: `h w` pixels of a strip or tile, `s` samples of a pixel.

Source: TIFF 6.0 (1992), sections 3, 14 and 15; predictor 3 by Adobe's technical note 3 (2005).
"""

import struct
import zlib
from collections.abc import Iterator
from io import BufferedIOBase, BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqgen.data.pictures.formats import check_pixels
from vqgen.data.pictures.tiff_tags import FLOAT, MOST_BYTES, SIGNED, UNDEFINED, UNSIGNED, Layout
from vqgen.errors import DataError

_NONE, _DEFLATE = (1,), (8, 32946)
_BY_PILLOW = (5, 32773, 34925, 50000)
"""LZW, PackBits, LZMA and Zstandard: schemes of bytes, whatever the bytes mean."""

_COMPRESSIONS = (*_NONE, *_DEFLATE, *_BY_PILLOW)

_WITH_PREDICTOR = (5, 8, 32946, 34925, 50000)
"""Schemes with which the tag of the predictor counts."""

_REVERSED = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)


def is_readable(layout: Layout) -> bool:
    """Returns True if `read_samples` reads this layout."""
    whole_bytes = layout.bits in (8, 16, 32, 64)
    predictable = {1: True, 2: whole_bytes, 3: layout.sample_format == FLOAT}.get(_predictor(layout), False)
    return _sample_type(layout) is not None and layout.compression in _COMPRESSIONS and predictable


def _predictor(layout: Layout) -> int:
    return layout.predictor if layout.compression in _WITH_PREDICTOR else 1


def _sample_type(layout: Layout) -> np.dtype | None:
    """Returns the type of the numbers; None for one that is not read here."""
    if layout.sample_format == FLOAT:
        return np.dtype(f"f{layout.bits // 8}") if layout.bits in (16, 32, 64) else None
    if layout.sample_format == SIGNED:
        return np.dtype(f"i{layout.bits // 8}") if layout.bits in (8, 16, 32, 64) else None
    if layout.sample_format not in (UNSIGNED, UNDEFINED):
        return None
    size = next((size for size in (8, 16, 32, 64) if layout.bits <= size), None)
    return np.dtype(f"u{size // 8}") if size and (layout.bits <= 32 or layout.bits == 64) else None


def read_samples(file: BufferedIOBase, layout: Layout) -> NDArray:
    """Reads all samples, `(h, w, s)`, in the byte order of this machine.

    Raises:
        DataError: The file ends too early, or a strip is damaged.
    """
    dtype = _sample_type(layout)
    assert dtype is not None
    planes = layout.samples if layout.is_planar else 1
    per_block = 1 if layout.is_planar else layout.samples
    _check_length(file, layout, planes)
    values = np.zeros((layout.height, layout.width, layout.samples), dtype)
    for index, plane, top, left, width, height in _blocks(layout, planes):
        file.seek(layout.offsets[index])
        row_bytes = (width * per_block * layout.bits + 7) // 8
        data = _unpacked(file.read(layout.counts[index]), layout, row_bytes, height)
        block = _numbers(data, layout, dtype, width, per_block)
        target = values[top : top + height, left : left + width, plane : plane + per_block]
        target[...] = block[: target.shape[0], : target.shape[1]]
    return values


def _check_length(file: BufferedIOBase, layout: Layout, planes: int) -> None:
    # Before memory is taken: a damaged header may claim any size.
    width, height = layout.block
    needed = -(-layout.width // max(1, width)) * -(-layout.height // max(1, height)) * planes
    if width < 1 or height < 1 or len(layout.offsets) != needed or len(layout.counts) != needed:
        raise DataError(f"a TIFF of this size should have {needed} strips or tiles, found {len(layout.offsets)}")
    check_pixels(width, height)
    if width * height * layout.samples * max(1, layout.bits // 8) > MOST_BYTES:
        raise DataError(f"a strip or tile should have at most {MOST_BYTES} bytes, found {width} x {height} pixels")
    length = file.seek(0, 2)
    places = zip(layout.offsets, layout.counts, strict=True)
    if any(start < 0 or count < 0 or start + count > length for start, count in places):
        raise DataError("the file is truncated: a strip or tile lies behind its end")


def _blocks(layout: Layout, planes: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yields the index of each strip or tile, its plane, its top and left pixel, and its width and height."""
    width, height = layout.block
    index = 0
    for plane in range(planes):
        for top in range(0, layout.height, height):
            for left in range(0, layout.width, width):
                # A tile has its full size in the file even at the edge, the last strip has not.
                rows = height if layout.is_tiled else min(height, layout.height - top)
                yield index, plane, top, left, width, rows
                index += 1


def _unpacked(packed: bytes, layout: Layout, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    """Returns the bytes of a strip or tile, `(rows, row_bytes)`."""
    if layout.is_reversed:
        packed = _REVERSED[np.frombuffer(packed, np.uint8)].tobytes()
    length = row_bytes * rows
    if layout.compression in _NONE:
        data = packed
    elif layout.compression in _DEFLATE:
        try:
            data = zlib.decompressobj().decompress(packed, length)
        except zlib.error as error:
            raise DataError(f"a strip or tile is damaged: {error}") from error
    else:
        data = _by_pillow(packed, layout.compression, row_bytes, rows)
    if len(data) < length:
        raise DataError(f"a strip or tile should have {length} bytes, found {len(data)}: the file is truncated")
    return np.frombuffer(data, np.uint8, length).reshape(rows, row_bytes)


def _by_pillow(packed: bytes, compression: int, row_bytes: int, rows: int) -> bytes:
    """Unpacks bytes with the TIFF library of Pillow, as a grey picture of 8 bits, whose samples are the bytes."""
    tags = [(256, row_bytes), (257, rows), (258, 8), (259, compression), (262, 1), (273, 0), (277, 1), (278, rows)]
    tags.append((279, len(packed)))
    start = 8 + 2 + 12 * len(tags) + 4
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    file = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + b"\0\0\0\0" + packed
    with Image.open(BytesIO(file), formats=["TIFF"]) as image:
        return image.tobytes()


def _numbers(data: NDArray[np.uint8], layout: Layout, dtype: np.dtype, width: int, per_pixel: int) -> NDArray:
    """Turns the bytes of a strip or tile into numbers, `(h, w, s)`."""
    rows = len(data)
    predictor = _predictor(layout)
    if predictor == 3:
        data = data.reshape(rows, -1, per_pixel).cumsum(axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
        # The first bytes of all samples stand first, the highest byte of a sample before the lower ones.
        ordered = np.ascontiguousarray(data.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))
        return ordered.reshape(rows, width, per_pixel).astype(dtype)
    if layout.bits in (8, 16, 32, 64):
        values = data.view(dtype.newbyteorder(layout.byte_order)).reshape(rows, width, per_pixel).astype(dtype)
    else:
        bits = np.unpackbits(data, axis=1)[:, : width * per_pixel * layout.bits].reshape(rows, -1, layout.bits)
        # Numbers of odd sizes are written highest bit first, in every byte order.
        values = np.zeros(bits.shape[:2], dtype)
        for position in range(layout.bits):
            values = (values << dtype.type(1)) | bits[..., position]
        values = values.reshape(rows, width, per_pixel)
    if predictor == 2:
        # Differences of the integers that the bytes are, whatever they mean; sums wrap around.
        whole = np.dtype(f"u{dtype.itemsize}")
        values = values.view(whole).cumsum(axis=1, dtype=whole).view(dtype)
    return values
