"""PNG: the chunks that pixels depend on, transparent keys, and 16 bits per sample.

Source: the PNG specification, third edition, sections 5 and 11.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqgen.data.pictures.alpha import key_alpha
from vqgen.data.pictures.decoded import Decoded
from vqgen.data.pictures.formats import open_with_pillow
from vqgen.data.pictures.orientation import orientation_of
from vqgen.data.pictures.png_colours import described_profile
from vqgen.data.pictures.profiles import MAX_PROFILE_BYTES
from vqgen.data.pictures.samples import Samples

_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that pixels depend on. All other ones may be damaged or huge, and the pixels are sound."""

_OF_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")

_MOST_METADATA = 1 << 20
"""Bytes of a chunk of metadata that is handed on, unpacked: the limit of Pillow."""

_LENGTHS = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
"""Length of chunks that Pillow reads. It refuses the pixels for another length."""

_NEVER = (b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT")
"""Chunks that Pillow unpacks, and those of animations: it refuses the still picture for a fault in them."""

_ORIENTED = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
"""Keywords of the texts that may contain the orientation."""

_GREY, _RGB = 0, 2
_CHANNELS = {_GREY: 1, _RGB: 3, 4: 2, 6: 4}
"""Colour type -> samples of a pixel; the type of palettes has indices."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """The parts of a PNG file.

    Attributes:
        depth: Bits of a sample.
        colour_type: The colour type of the specification.
        key: Data of tRNS; empty without the chunk.
        colours: Name -> data of the chunks that describe colours and are sound.
        source: The whole file.
        kept: Start and end of each part of the file that is handed on to Pillow; None to hand on the whole file.
    """

    depth: int
    colour_type: int
    key: bytes
    colours: dict[bytes, bytes]
    source: BufferedIOBase
    kept: list[tuple[int, int]] | None

    @property
    def key_values(self) -> tuple[int, ...] | None:
        """The transparent colour of a grey or RGB picture; None without one."""
        count = {_GREY: 1, _RGB: 3}.get(self.colour_type, 0)
        if not count or len(self.key) < 2 * count:
            return None
        # Only as many low bits count as a sample has.
        return tuple(value & ((1 << self.depth) - 1) for value in struct.unpack(f">{count}H", self.key[: 2 * count]))

    def file(self) -> BufferedIOBase:
        """Returns the file that Pillow reads."""
        if self.kept is None:
            return self.source
        parts = BytesIO()
        for start, end in self.kept:
            self.source.seek(start)
            parts.write(self.source.read(end - start))
        return parts


def read_chunks(file: BufferedIOBase) -> Chunks:
    """Reads the chunks of a file, without the metadata that could keep a decoder from sound pixels."""
    kept = [(0, 8)]
    found: dict[bytes, bytes] = {}
    is_harmless = True
    total = 0
    for name, start, end, data in _chunks(file):
        if name in (b"IHDR", b"tRNS") or (name in _OF_COLOURS and data is not None):
            found.setdefault(name, data or b"")
        if name in _OF_PIXELS or (data is not None and _is_handed_on(name, data)):
            kept.append((start, end))
        else:
            total += end - start  # Pillow limits them together, too
            is_harmless = is_harmless and data is not None and _is_harmless(name, data) and total <= _MOST_METADATA
    header = found.get(b"IHDR", b"").ljust(13, b"\0")
    colours = {name: found[name] for name in _OF_COLOURS if name in found}
    key = found.get(b"tRNS", b"")
    return Chunks(header[8], header[9], key, colours, file, None if is_harmless else kept)


def decode_png(file: BufferedIOBase) -> Decoded:
    """Decodes a PNG file; of an animation the still picture.

    Raises:
        DataError: It is damaged, or of a kind that is not read.
        Exception: Whatever Pillow raises.
    """
    chunks = read_chunks(file)
    key = chunks.key_values
    # A key is applied here: Pillow knows it neither at 16 bits, nor against samples of 2 and 4 bits.
    with open_with_pillow(chunks.file()) as image:
        orientation = orientation_of(image)
        profile = _profile(chunks)
        if chunks.depth == 16:
            return Decoded(_deep_samples(chunks, key), profile, orientation)
        image.load()
    if key is None and (chunks.depth == 8 or chunks.colour_type != _GREY):
        return Decoded(image, profile, orientation)
    return Decoded(_shallow_samples(image, chunks.depth, key), profile, orientation)


def _chunks(file: BufferedIOBase) -> Iterator[tuple[bytes, int, int, bytes | None]]:
    """Yields the name of each chunk, its start and end in the file, and its data; None for damaged or huge data.

    The pixels are passed over: Pillow checks them.
    """
    start = 8
    file.seek(start)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        end = start + 12 + length
        data = None
        if name in (b"IHDR", b"tRNS"):
            data = file.read(min(length, _MOST_METADATA))
        elif name not in _OF_PIXELS and length <= MAX_PROFILE_BYTES:
            body = file.read(length + 4)
            checksum = zlib.crc32(body[:length], zlib.crc32(name)).to_bytes(4, "big")
            data = body[:length] if body[length:] == checksum else None
        yield name, start, end, data
        if name == b"IEND":
            return
        start = end
        file.seek(start)


def _is_handed_on(name: bytes, data: bytes) -> bool:
    """Returns True for metadata that may contain the orientation, and are small."""
    if name == b"eXIf":
        return len(data) <= _MOST_METADATA
    if name not in (b"tEXt", b"zTXt", b"iTXt") or not data.startswith(_ORIENTED) or len(data) > _MOST_METADATA:
        return False
    # Behind the keyword of zTXt is the method; of iTXt a flag, the method and two more texts.
    rest = data.partition(b"\0")[2]
    if name == b"zTXt":
        return rest[:1] == b"\0" and unpacked(rest[1:], _MOST_METADATA) is not None
    is_packed = name == b"iTXt" and rest[:1] != b"\0"
    return not is_packed or (rest[1:2] == b"\0" and unpacked(rest[2:].split(b"\0", 2)[-1], _MOST_METADATA) is not None)


def _is_harmless(name: bytes, data: bytes) -> bool:
    """Returns True for a sound chunk that Pillow may read, although nothing depends on it."""
    return name not in _NEVER and len(data) == _LENGTHS.get(name, len(data)) and len(data) <= _MOST_METADATA


def unpacked(packed: bytes, most: int) -> bytes | None:
    """Unpacks data of zlib; None for damaged data, and for more than `most` bytes."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, most)
    except zlib.error:
        return None
    return data if unpacker.eof else None


def _profile(chunks: Chunks) -> bytes | None:
    embedded = chunks.colours.get(b"iCCP")
    if embedded is not None and b"cICP" not in chunks.colours:
        # A name, the method, and the packed profile.
        return unpacked(embedded.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    return described_profile(chunks.colours, is_grey=chunks.colour_type in (_GREY, 4))


def _shallow_samples(image: Image.Image, depth: int, key: tuple[int, ...] | None) -> Samples:
    """Returns the samples of a grey or RGB picture of at most 8 bits, as they were before Pillow spread them to 8."""
    high = (1 << depth) - 1
    grey = image.convert("L") if image.mode == "1" else image
    values = np.asarray(grey).reshape(image.height, image.width, -1) // (255 // high)
    return Samples(values, f"{depth}-bit", (0, high), alpha=None if key is None else key_alpha(values, key))


def _deep_samples(chunks: Chunks, key: tuple[int, ...] | None) -> Samples:
    """Returns all 16 bits of each sample."""
    count = _CHANNELS[chunks.colour_type]
    values = _sixteen_bits(chunks, count)
    alpha = values[..., -1] if count in (2, 4) else None
    colours = values if alpha is None else values[..., :-1]
    if key is not None:
        alpha = key_alpha(colours, key).astype(np.uint16) * 257
    return Samples(colours, "16-bit", (0, 65535), alpha=alpha, alpha_high=65535)


def _sixteen_bits(chunks: Chunks, count: int) -> NDArray[np.uint16]:
    """Decodes `(h, w, count)` samples.

    Pillow keeps the high byte of each sample of colours. It keeps the low byte when it is told that the byte order is
    the other one, so colours are decoded twice.
    """
    if count == 1:
        grey = _raw(chunks, None, None)  # mode I;16, or I before Pillow 11
        return grey.astype(np.uint16)[..., None]
    if count == 2:
        # Four bytes of a pixel, taken as they are.
        return _raw(chunks, "RGBA", "RGBA").view(">u2").astype(np.uint16)
    mode = "RGB" if count == 3 else "RGBA"
    high = _raw(chunks, mode, f"{mode};16B").astype(np.uint16)
    high <<= 8
    high |= _raw(chunks, mode, f"{mode};16L")
    return high


def _raw(chunks: Chunks, mode: str | None, raw_mode: str | None) -> NDArray:
    """Decodes the file with the unpacker `raw_mode` of Pillow; None for the one that it chooses."""
    with open_with_pillow(chunks.file()) as image:
        if raw_mode is not None:
            assert image.mode == mode
            tiles: Any = [(*tile[:3], raw_mode) for tile in image.tile]
            image.tile = tiles
        image.load()
        return np.array(image)
