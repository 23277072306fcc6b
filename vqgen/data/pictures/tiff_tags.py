"""The tags of a TIFF file that say where its samples are and what they mean.

Source: TIFF 6.0 (1992), sections 4 to 8, 14, 15, 18 and 19; BigTIFF by the tags' readers of Pillow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase

from vqgen.data.pictures.formats import check_pixels
from vqgen.data.pictures.tiff_directory import ByteOrder, Values, read_directory
from vqgen.errors import DataError

GREY_INVERTED, GREY, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5

_INTERPRETATIONS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab",
    10: "ITULab", 32803: "camera raw", 32844: "LogL", 32845: "LogLuv", 34892: "linear camera raw",
}  # fmt: skip

_TAGS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 34675}
)

COLOURS = {GREY_INVERTED: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4}
"""Photometric interpretation -> samples of a colour. Other interpretations are left to Pillow."""

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4

MOST_BYTES = 1 << 31
_ASSOCIATED = 1
_ALPHAS = (1, 2, 999)
"""Kinds of extra samples that are opacity; 999 is how an old program writes 2."""


@dataclass(frozen=True)
class Layout:
    """The layout of the samples of the first picture of a file.

    Attributes:
        byte_order: "<" or ">".
        width, height: Pixels.
        bits: Bits of each sample.
        sample_format: Unsigned, signed or float.
        compression: The scheme of the tag.
        photometric: The photometric interpretation.
        samples: Samples of a pixel.
        extras: Kinds of the samples beyond the colour.
        is_planar: True if each sample has a plane of its own.
        predictor: 1 for none, 2 for differences, 3 for differences of floats.
        is_reversed: True if the bits of each byte are in reverse order.
        block: Width and height of a strip or tile.
        is_tiled: True for tiles.
        offsets, counts: Place and length of each strip or tile.
        colour_map: 16-bit colours of a palette, all reds first.
        profile: The colour profile.
        orientation: The orientation tag.
    """

    byte_order: ByteOrder
    width: int
    height: int
    bits: int
    sample_format: int
    compression: int
    photometric: int
    samples: int
    extras: tuple[int, ...]
    is_planar: bool
    predictor: int
    is_reversed: bool
    block: tuple[int, int]
    is_tiled: bool
    offsets: Sequence[int]
    counts: Sequence[int]
    colour_map: Sequence[int]
    profile: bytes | None
    orientation: int

    @property
    def colours(self) -> int:
        """Samples of a colour."""
        return COLOURS[self.photometric]

    @property
    def alpha_index(self) -> int | None:
        """The sample that is opacity; None without one. A fourth sample of RGB that has no kind is opacity."""
        if not self.extras and self.samples > self.colours and self.photometric != CMYK:
            return self.colours
        found = [index for index, kind in enumerate(self.extras) if kind in _ALPHAS]
        return self.colours + found[0] if found else None

    @property
    def is_associated(self) -> bool:
        """True if the colours are multiplied by the opacity."""
        index = self.alpha_index
        return index is not None and bool(self.extras) and self.extras[index - self.colours] == _ASSOCIATED

    @property
    def is_plain(self) -> bool:
        """True for at most 8 unsigned bits without associated opacity, which Pillow reads as they are."""
        return self.bits <= 8 and self.sample_format in (UNSIGNED, UNDEFINED) and not self.is_associated


def read_layout(file: BufferedIOBase) -> Layout | str:
    """Reads the tags of the first picture; returns the name of its kind if that is left to Pillow.

    Raises:
        DataError: The picture is too large, or its tags are damaged.
    """
    byte_order, tags = read_directory(file, _TAGS)
    width, height = _number(tags, 256), _number(tags, 257)
    check_pixels(width, height)
    samples = _number(tags, 277, 1)
    bits = set(_numbers(tags, 258, (1,))[:samples])
    formats = set(_numbers(tags, 339, (UNSIGNED,))[:samples])
    photometric = _number(tags, 262, GREY_INVERTED)
    is_tiled = 324 in tags
    rows = min(height, _number(tags, 278, height))
    if len(bits) != 1 or len(formats) != 1 or photometric not in COLOURS or samples < COLOURS[photometric]:
        name = _INTERPRETATIONS.get(photometric, f"interpretation {photometric}")
        return f"{name} with {', '.join(map(str, sorted(bits)))} bits in {samples} samples"
    found = Layout(
        byte_order=byte_order,
        width=width,
        height=height,
        bits=bits.pop(),
        sample_format=formats.pop(),
        compression=_number(tags, 259, 1),
        photometric=photometric,
        samples=samples,
        extras=_numbers(tags, 338)[: samples - COLOURS[photometric]],
        is_planar=_number(tags, 284, 1) == 2 and samples > 1,
        predictor=_number(tags, 317, 1),
        is_reversed=_number(tags, 266, 1) == 2,
        block=(_number(tags, 322), _number(tags, 323)) if is_tiled else (width, rows),
        is_tiled=is_tiled,
        offsets=_numbers(tags, 324 if is_tiled else 273),
        counts=_numbers(tags, 325 if is_tiled else 279),
        colour_map=_numbers(tags, 320),
        profile=_bytes(tags.get(34675)),
        orientation=_number(tags, 274, 1),
    )
    needed = width * height * samples * max(1, found.bits // 8)
    if needed > MOST_BYTES:
        raise DataError(f"samples should take at most {MOST_BYTES} bytes, found {needed}; split or scale the picture")
    return found


def _numbers(tags: Mapping[int, Values], tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    value = tags.get(tag, default)
    if isinstance(value, bytes):
        raise DataError(f"tag {tag} of the TIFF should be numbers, found bytes or text")
    return value


def _number(tags: Mapping[int, Values], tag: int, default: int | None = None) -> int:
    found = _numbers(tags, tag, () if default is None else (default,))
    if not found:
        raise DataError(f"a TIFF should have tag {tag}, found none")
    return found[0]


def _bytes(value: Values | None) -> bytes | None:
    return bytes(value) if value and max(value) < 256 and min(value) >= 0 else None
