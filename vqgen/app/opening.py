"""A `.vqg` file as the page shows it: the picture, and the content of the header."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

from vqgen.codec import Codec, Coder, Header, ImageCodes, ideal_bits, read_header
from vqgen.errors import BitstreamError
from vqgen.storage.names import shown

_MOST_PIXELS = 1 << 22
"""Pixels of a file that is decoded here, at most."""

_PRIOR_PIXELS = 1 << 20
"""Pixels of a file whose codes a prior wrote, at most: a step of the prior takes longer than the rest together."""


@dataclass(frozen=True)
class OpenedPicture:
    """The content of a `.vqg` file.

    Attributes:
        picture: The picture.
        header: The header.
        rows: Name and value of each entry, for a table.
    """

    picture: Image.Image
    header: Header
    rows: tuple[tuple[str, str], ...]


def check_header(data: bytes) -> Header:
    """Reads the header of a file, and refuses a picture that would take too long.

    Raises:
        BitstreamError: The file is damaged or of another kind, or its picture is too large for the page.
    """
    header, _ = read_header(data)
    by_prior = any(level.coder is Coder.PRIOR for level in header.levels)
    most = _PRIOR_PIXELS if by_prior else _MOST_PIXELS
    if header.width * header.height > most:
        raise BitstreamError(
            f"the picture should have at most {most:,} pixels on this page, found {header.width} x {header.height}; "
            "the command vqgen decompress has no such limit"
        )
    return header


def open_compressed(codec: Codec, data: bytes) -> OpenedPicture:
    """Decodes a file.

    Raises:
        BitstreamError: It is damaged, of another model, or too large for the page.
    """
    header = check_header(data)
    codes = codec.unpack([data])[0]
    if isinstance(codes, BitstreamError):
        raise codes
    return OpenedPicture(codec.decode([codes])[0], header, tuple(_rows(codec, header, codes, len(data))))


def is_of_model(codec: Codec, header: Header) -> bool:
    """Returns True if the VQ-VAE of the codec made the file."""
    return codec.models.vqvae_hash == header.vqvae


def _rows(codec: Codec, header: Header, codes: ImageCodes, size: int) -> Iterable[tuple[str, str]]:
    pixels = header.width * header.height
    colours = "RGB" if header.rgb else "grey"
    yield "picture", f"{header.width} x {header.height}, {colours}{', with alpha' * (header.alpha_length is not None)}"
    yield "file", f"{size} bytes, {8 * size / pixels:.4g} bits per pixel"
    yield "label", _label_text(header.label, codec.parts.label_map.names)
    for name, level in zip(codec.models.levels, header.levels, strict=True):
        label = header.label if level.coder is Coder.PRIOR else None
        ideal = ideal_bits(codec.models, codes, name, level.coder, label) / 8
        yield (
            f"codes, {name}",
            f"{level.height} x {level.width}, {level.coder.name.lower()}, {level.length} bytes (ideal {ideal:.1f})",
        )
    if header.alpha_length is not None:
        yield "alpha plane", f"{header.alpha_length} bytes"
    yield "VQ-VAE", header.vqvae.hex()
    yield "entropy models", header.models.hex() if any(header.models) else "none"
    yield "CRC-32 of the codes", f"{header.codes_crc:08x}"


def _label_text(label: int | None, names: Sequence[str]) -> str:
    if label is None:
        return "none"
    return f"{label} ({shown(names[label])})" if label < len(names) else str(label)
