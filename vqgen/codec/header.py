"""The header of a `.vqg` file; `FORMAT.md` describes it byte by byte.

Every number in a file is compared with a bound before memory of that size is taken.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate

from vqgen.codec.framing import check_magic, check_seal, flags_of, num_levels_in, seal, version_of
from vqgen.errors import BitstreamError

# A byte above 127 in front, as in PNG: no ASCII text begins with it.
MAGIC = b"\x89VQG"

MAX_PIXELS = 1 << 26
"""Pixels of an image, at most."""

MAX_CODES = 1 << 25
"""Codes of an image or of an archive's block, at most, all levels together."""

CODES_PER_BYTE = 128
"""Codes in a byte, at most: zeros fill up shorter segments, so that a small file cannot claim much work."""

MAX_FILE_BYTES = 1 << 28
"""Bytes of a `.vqg` file, at most: four for each code, and the alpha plane."""

NO_LABEL = 0xFFFF

# "<" is little-endian without padding: the bytes are the same on every machine.
_FIXED = struct.Struct("<4sBBHH8s8sBBHI")
_LEVEL = struct.Struct("<BHHI")
_LENGTH = struct.Struct("<I")
_CRC_BYTES = 4

FIXED_BYTES = _FIXED.size
"""Bytes of the part of the header that every file has."""

# Bits of the flags, above the two that count the levels. The three above them belong to larger counts.
_RGB = 4
_ALPHA = 8
_LABEL = 16
_SPARE = 5


class Coder(IntEnum):
    """The way in which the codes of a level are written; the value is the id in the file."""

    PACKED = 0
    """Fixed bits per code."""
    STATIC = 1
    """Range coder, frequencies of the training images' codes."""
    PRIOR = 2
    """Range coder, frequencies that the prior predicts from the codes before."""


class ComputeType(IntEnum):
    """The arithmetic in which the prior runs; the value is the id in the file."""

    NONE = 0
    FLOAT64 = 1
    """Floats, tile by tile: decoders need the same shapes, and all but the last bits must agree."""
    FIXED = 2
    """Fixed point, over whole grids: the same numbers everywhere."""


@dataclass(frozen=True)
class LevelHeader:
    """The entry of a level in a header.

    Attributes:
        coder: The coder of its codes.
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
    """The part of a `.vqg` file before its segments.

    Attributes:
        width: Columns of the image, in pixels.
        height: Rows of the image, in pixels.
        rgb: True if the image is decoded to RGB, False if to grey.
        label: Index of the label that conditions the prior; None without a label.
        vqvae: First 8 bytes of the VQ-VAE's SHA-256.
        models: Fingerprint of the models that predict the codes; zeros if all levels are packed.
        batch_size: Tiles that the prior evaluates at a time, 1 for whole grids; 0 if no level needs the prior.
        compute_type: The arithmetic in which the prior runs.
        codes_crc: CRC-32 of the decoded codes and of the alpha plane.
        levels: The levels, coarse to fine.
        alpha_length: Bytes of the alpha plane's segment; None without an alpha plane.
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

    @property
    def version(self) -> int:
        """The version of the file."""
        return version_of(len(self.levels))

    @property
    def flags(self) -> int:
        """The flags of the file: its number of levels, and what it has."""
        flags = flags_of(len(self.levels), _SPARE) | self.rgb * _RGB
        return flags | (self.alpha_length is not None) * _ALPHA | (self.label is not None) * _LABEL

    @property
    def size(self) -> int:
        """Bytes of the header, with its CRC-32."""
        return _size_without_crc(len(self.levels), self.alpha_length is not None) + _CRC_BYTES

    @property
    def ends(self) -> list[int]:
        """The offset behind the segment of each level, coarse to fine."""
        return list(accumulate((level.length for level in self.levels), initial=self.size))[1:]

    @property
    def file_size(self) -> int:
        """Bytes of the file."""
        return self.ends[-1] + (self.alpha_length or 0)

    def pack(self) -> bytes:
        """Writes the header as bytes, with its CRC-32."""
        label = NO_LABEL if self.label is None else self.label
        fixed = _FIXED.pack(
            MAGIC, self.version, self.flags, self.width, self.height, self.vqvae, self.models, self.batch_size,
            self.compute_type, label, self.codes_crc,
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
        BitstreamError: The file is of another kind or version, is damaged or cut short, or claims impossible sizes.
    """
    header = parse_header(data)
    if error := wrong_length(header, len(data)):
        raise error
    return header, header.size


def parse_header(data: bytes) -> Header:
    """Reads and checks a header, without a look at the length of the file.

    Args:
        data: The file, or its beginning.

    Raises:
        BitstreamError: The file is of another kind or version, its header is damaged or cut short, or it claims
            impossible sizes.
    """
    size = header_size(data)
    check_seal(data, size - _CRC_BYTES)
    _, version, flags, *_ = _FIXED.unpack_from(data)
    header = _parse(data, flags, num_levels_in(version, flags, _SPARE))
    _check_bounds(header, version, flags)
    return header


def header_size(data: bytes) -> int:
    """Returns the bytes of the header, with its CRC-32, by its first bytes.

    Args:
        data: The first `FIXED_BYTES` of the file, or more.

    Raises:
        BitstreamError: The file is of another kind or version, or cut short.
    """
    check_magic(data, MAGIC, "a compressed image of vqgen (.vqg)")
    if len(data) < FIXED_BYTES:
        raise BitstreamError(
            f"the file is cut short: its header should have more than {FIXED_BYTES} bytes, found {len(data)}"
        )
    # The flags alone determine the header's length. They are not trusted before the CRC-32 over that length is right.
    _, version, flags, *_ = _FIXED.unpack_from(data)
    return _size_without_crc(num_levels_in(version, flags, _SPARE), bool(flags & _ALPHA)) + _CRC_BYTES


def wrong_length(header: Header, size: int) -> BitstreamError | None:
    """Returns the error of a file that is longer or shorter than its header says; None if its length is right.

    Args:
        header: The header.
        size: Bytes of the file.
    """
    # Surplus bytes are refused too: no checksum covers them.
    if header.file_size == size:
        return None
    damage = "cut short" if header.file_size > size else "too long"
    return BitstreamError(f"the file is {damage}: by its header it should have {header.file_size} bytes, found {size}")


def check_levels(levels: Sequence[LevelHeader]) -> None:
    """Checks that levels claim no more codes than their segments can hold.

    Raises:
        BitstreamError: A level claims too many codes or too long a segment, or all levels too many codes together.
    """
    total = sum(level.height * level.width for level in levels)
    if total > MAX_CODES:
        raise BitstreamError(f"the levels should have at most {MAX_CODES} codes together, found {total}")
    for level in levels:
        codes = level.height * level.width
        # A small file must not claim much work; and no coder needs more than 24 bits a code and the last two words.
        if not 0 < codes <= level.length * CODES_PER_BYTE or level.length > 4 * codes + 8:
            raise BitstreamError(
                f"a grid of {level.height} x {level.width} codes cannot have a segment of {level.length} bytes"
            )


def _size_without_crc(num_levels: int, has_alpha: bool) -> int:
    return _FIXED.size + num_levels * _LEVEL.size + has_alpha * _LENGTH.size


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
        raise BitstreamError(
            f"the header has a coder or a dtype that this version does not support: {error}"
        ) from error


def _check_bounds(header: Header, version: int, flags: int) -> None:
    # An unknown flag may change the layout of the file, so it cannot be ignored.
    if (version, flags) != (header.version, header.flags) or not header.levels:
        wanted = "1 to 3" if version == 1 else "more than 3"
        raise BitstreamError(f"the header should have {wanted} levels and known flags, found flags {flags:#04x}")
    if not 0 < header.width * header.height <= MAX_PIXELS:
        raise BitstreamError(f"the image should have 1 to {MAX_PIXELS} pixels, found {header.width} x {header.height}")
    needs_prior = any(level.coder is Coder.PRIOR for level in header.levels)
    if needs_prior != (header.batch_size > 0) or needs_prior != (header.compute_type is not ComputeType.NONE):
        raise BitstreamError(
            f"the header's compute shape should fit its coders, found {header.batch_size} tiles in "
            f"{header.compute_type.name.lower()} {'with' if needs_prior else 'without'} a prior"
        )
    check_levels(header.levels)
