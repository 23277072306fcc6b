"""The header of a `.vqg` file; `FORMAT.md` describes it byte by byte.

Every number that a file states is held against a bound before anything of that size is made.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from vqgen.errors import BitstreamError

MAGIC = b"\x89VQG"
VERSION = 1

MAX_PIXELS = 1 << 26
"""Pixels of an image, at most."""

MAX_CODES = 1 << 25
"""Codes of an image or of an archive's block, all levels together, at most."""

CODES_PER_BYTE = 128
"""Codes in a byte, at most: shorter segments are filled up with zeros, so that little data cannot claim much work."""

MAX_FILE_BYTES = 1 << 28
"""Bytes of a `.vqg` file, at most: four for each code, and the alpha plane."""

NO_LABEL = 0xFFFF

_FIXED = struct.Struct("<4sBBHH8s8sBBHI")
_LEVEL = struct.Struct("<BHHI")
_LENGTH = struct.Struct("<I")

_RGB, _ALPHA, _LABEL = 4, 8, 16


class Coder(IntEnum):
    """How the codes of a level are written; the value is the id in the file."""

    PACKED = 0
    """Fixed bits per code."""
    STATIC = 1
    """Range coder, frequencies of the training images' codes."""
    PRIOR = 2
    """Range coder, frequencies that the prior predicts from the codes before."""


class ComputeType(IntEnum):
    """Number format in which the prior is run; the value is the id in the file."""

    NONE = 0
    FLOAT64 = 1


@dataclass(frozen=True)
class LevelHeader:
    """What a header says of a level.

    Attributes:
        coder: How its codes are written.
        height: Rows of its grid.
        width: Columns of its grid.
        length: Bytes of its segment.
    """

    coder: Coder
    height: int
    width: int
    length: int


@dataclass(frozen=True)
class Header:
    """What a `.vqg` file says before its segments.

    Attributes:
        width: Columns of the image, in pixels.
        height: Rows of the image, in pixels.
        rgb: Whether the image comes back in colour.
        label: Index of the label that the prior was given; None for none.
        vqvae: First 8 bytes of the VQ-VAE's SHA-256.
        models: Fingerprint of the models that predict the codes; zeros when all levels are packed.
        batch_size: Tiles that the prior is run with at once; 0 when no level needs it.
        compute_type: Number format that the prior is run in.
        codes_crc: CRC-32 of the decoded codes and of the alpha plane.
        levels: Coarse to fine.
        alpha_length: Bytes of the alpha plane's segment; None without one.
    """

    width: int
    height: int
    rgb: bool
    label: int | None
    vqvae: bytes
    models: bytes
    batch_size: int
    compute_type: ComputeType
    codes_crc: int
    levels: tuple[LevelHeader, ...]
    alpha_length: int | None = None

    def pack(self) -> bytes:
        """The header's bytes."""
        flags = len(self.levels) | self.rgb * _RGB
        flags |= (self.alpha_length is not None) * _ALPHA | (self.label is not None) * _LABEL
        label = NO_LABEL if self.label is None else self.label
        fixed = _FIXED.pack(
            MAGIC, VERSION, flags, self.width, self.height, self.vqvae, self.models, self.batch_size, self.compute_type,
            label, self.codes_crc,
        )  # fmt: skip
        levels = b"".join(_LEVEL.pack(level.coder, level.height, level.width, level.length) for level in self.levels)
        alpha = b"" if self.alpha_length is None else _LENGTH.pack(self.alpha_length)
        return seal(fixed + levels + alpha)


def read_header(data: bytes) -> tuple[Header, int]:
    """Reads and checks the header of a `.vqg` file.

    Args:
        data: The whole file.

    Returns:
        The header, and its length in bytes.

    Raises:
        BitstreamError: It is none, or of another version, damaged, cut, or claims what cannot be.
    """
    check_magic(data, MAGIC, VERSION, "compressed image of vqgen (.vqg)")
    if len(data) < _FIXED.size:
        raise BitstreamError(f"the file is cut short: its header takes more than the {len(data)} bytes there are")
    _, _, flags, *_ = _FIXED.unpack_from(data)
    count = flags & 3
    size = _FIXED.size + count * _LEVEL.size + bool(flags & _ALPHA) * _LENGTH.size
    check_seal(data, size)
    header = _parse(data, flags, count)
    _check_bounds(header, flags)
    end = size + 4 + sum(level.length for level in header.levels) + (header.alpha_length or 0)
    if end != len(data):
        what = "cut short" if end > len(data) else "longer than it says"
        raise BitstreamError(f"the file is {what}: it should have {end} bytes, found {len(data)}")
    return header, size + 4


def read_file(path: Path) -> bytes:
    """Reads a `.vqg` file, unless it is longer than such a file can be.

    Raises:
        BitstreamError: It is.
    """
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise BitstreamError(
            f"this is no compressed image: it should have at most {MAX_FILE_BYTES} bytes, found {size}"
        )
    return path.read_bytes()


def check_magic(data: bytes, magic: bytes, version: int, what: str) -> None:
    """Checks the first five bytes of a file.

    Raises:
        BitstreamError: They are those of something else, or of another version.
    """
    if data[:4] != magic:
        raise BitstreamError(f"this is no {what}: it should begin with {magic!r}, found {data[:4]!r}")
    if len(data) > 4 and data[4] != version:
        newer = "update vqgen" if data[4] > version else "use the vqgen that wrote it"
        raise BitstreamError(
            f"the format should be version {version}, found {data[4]}; {newer}, or the file is damaged"
        )


def seal(data: bytes) -> bytes:
    """Appends the CRC-32 of the data."""
    return data + _LENGTH.pack(zlib.crc32(data))


def check_seal(data: bytes, size: int) -> None:
    """Checks that the first `size` bytes are followed by their CRC-32.

    Raises:
        BitstreamError: They are not.
    """
    if len(data) < size + 4:
        raise BitstreamError(f"the file is cut short: its header takes {size + 4} bytes, found {len(data)}")
    if zlib.crc32(data[:size]) != _LENGTH.unpack_from(data, size)[0]:
        raise BitstreamError("the header is damaged: its CRC-32 is wrong")


def check_levels(levels: Sequence[LevelHeader]) -> None:
    """Checks that levels claim no more than their segments can hold.

    Raises:
        BitstreamError: They do.
    """
    if sum(level.height * level.width for level in levels) > MAX_CODES:
        raise BitstreamError(f"the codes should be at most {MAX_CODES}, more are claimed")
    for level in levels:
        codes = level.height * level.width
        if not 0 < codes <= level.length * CODES_PER_BYTE or level.length > 4 * codes + 8:
            raise BitstreamError(
                f"a grid of {level.height} x {level.width} codes cannot have a segment of {level.length} bytes"
            )


def _parse(data: bytes, flags: int, count: int) -> Header:
    _, _, _, width, height, vqvae, models, batch_size, compute_type, label, crc = _FIXED.unpack_from(data)
    raw = [_LEVEL.unpack_from(data, _FIXED.size + index * _LEVEL.size) for index in range(count)]
    alpha_at = _FIXED.size + count * _LEVEL.size
    try:
        return Header(
            width=width,
            height=height,
            rgb=bool(flags & _RGB),
            label=label if flags & _LABEL else None,
            vqvae=vqvae,
            models=models,
            batch_size=batch_size,
            compute_type=ComputeType(compute_type),
            codes_crc=crc,
            levels=tuple(LevelHeader(Coder(coder), *rest) for coder, *rest in raw),
            alpha_length=_LENGTH.unpack_from(data, alpha_at)[0] if flags & _ALPHA else None,
        )
    except ValueError as error:
        raise BitstreamError(f"the header names what this version does not know: {error}") from error


def _check_bounds(header: Header, flags: int) -> None:
    if flags >> 5 or not header.levels:
        raise BitstreamError(f"the header's flags should be known ones and 1 to 3 levels, found {flags:#04x}")
    if not 0 < header.width * header.height <= MAX_PIXELS:
        raise BitstreamError(f"the image should have 1 to {MAX_PIXELS} pixels, found {header.width} x {header.height}")
    needs_prior = any(level.coder is Coder.PRIOR for level in header.levels)
    if needs_prior != (header.batch_size > 0) or needs_prior != (header.compute_type is not ComputeType.NONE):
        raise BitstreamError("the header's compute shape does not fit its coders")
    check_levels(header.levels)
