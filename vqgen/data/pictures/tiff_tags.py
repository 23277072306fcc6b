"""The tags of a TIFF file that say where its samples are and what they mean.

Source: TIFF 6.0 (1992), sections 4 to 8, 14, 15, 18 and 19; BigTIFF by the tags' readers of Pillow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from typing import IO, Any, Literal, cast

from PIL import TiffImagePlugin

from vqgen.data.pictures.formats import check_pixels
from vqgen.errors import DataError

GREY_INVERTED, GREY, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5

PHOTOMETRIC_NAMES = {
    0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32803: "camera raw", 32844: "LogL", 32845: "LogLuv", 34892: "linear camera raw",
}  # fmt: skip

COLOURS = {GREY_INVERTED: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4}
"""Photometric interpretation -> samples of a colour. Other interpretations are left to Pillow."""

UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4

_MOST_BYTES = 1 << 31
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
        offsets, counts: Place and length of each strip or tile.
        colour_map: 16-bit colours of a palette, all reds first.
        profile: The colour profile.
        orientation: The orientation tag.
    """

    byte_order: Literal["<", ">"]
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


def read_layout(file: BufferedIOBase) -> Layout | None:
    """Reads the tags of the first picture; None if this kind is left to Pillow.

    Raises:
        DataError: The picture is too large.
        Exception: The tags are damaged.
    """
    file.seek(0)
    head = file.read(8)
    if head[2:3] == b"+" or head[3:4] == b"+":
        head += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(cast(IO[bytes], file))
    width, height = int(tags[256]), int(tags[257])
    check_pixels(width, height)
    samples = int(tags.get(277, 1))
    bits = set(_numbers(tags, 258, (1,))[:samples])
    formats = set(_numbers(tags, 339, (UNSIGNED,))[:samples])
    photometric = int(tags.get(262, GREY_INVERTED))
    is_tiled = 324 in tags
    offsets = _numbers(tags, 324 if is_tiled else 273)
    if len(bits) != 1 or len(formats) != 1 or photometric not in COLOURS or samples < COLOURS[photometric]:
        return None
    found = Layout(
        byte_order="<" if head[:2] == b"II" else ">",
        width=width,
        height=height,
        bits=bits.pop(),
        sample_format=formats.pop(),
        compression=int(tags.get(259, 1)),
        photometric=photometric,
        samples=samples,
        extras=_numbers(tags, 338)[: samples - COLOURS[photometric]],
        is_planar=int(tags.get(284, 1)) == 2 and samples > 1,
        predictor=int(tags.get(317, 1)),
        is_reversed=int(tags.get(266, 1)) == 2,
        block=(int(tags[322]), int(tags[323])) if is_tiled else (width, min(height, int(tags.get(278, height)))),
        offsets=offsets,
        counts=_numbers(tags, 325 if is_tiled else 279),
        colour_map=_numbers(tags, 320),
        profile=_bytes(tags.get(34675)),
        orientation=int(tags.get(274, 1)),
    )
    needed = width * height * samples * max(1, found.bits // 8)
    if needed > _MOST_BYTES:
        raise DataError(f"samples should take at most {_MOST_BYTES} bytes, found {needed}; split or scale the picture")
    return found


def _numbers(tags: Any, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    value = tags.get(tag, default)
    return tuple(int(each) for each in value) if isinstance(value, tuple | list) else (int(value),)


def _bytes(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) else None
