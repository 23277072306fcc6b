"""A picture as a file of vqgen, beside JPEG and WebP files of about the same length.

picture --> scaled to fit --> codes --> each coder alone --> the shortest for each level --> file --> picture
                                                                                      length --> JPEG, WebP
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from vqgen.app.uploads import Upload
from vqgen.codec import Codec, Coder, ImageCodes, read_header
from vqgen.codec.image_file import write_image_file
from vqgen.codec.labels import choose_labels
from vqgen.codec.segments import Segment, Stream, encode_streams
from vqgen.data import Label
from vqgen.errors import DataError
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.peer_formats import write_peer
from vqgen.evaluation.rate_distortion import in_models_colours, ms_ssim, nearest_peer

MOST_PIXELS = 1 << 19
"""Pixels of a picture that is compressed here, at most; a larger one is scaled down, so that nobody waits for it."""

PRIOR_PIXELS = 1 << 18
"""Pixels up to which the prior writes codes too: it takes about 20 seconds for a million pixels on one core."""

_PEERS = {"JPEG": "JPEG", "WebP": "WEBP"}


@dataclass(frozen=True)
class FileOfFormat:
    """A picture in one format.

    Attributes:
        name: Name of the format.
        picture: The picture that the file decodes to.
        data: The file.
        psnr: In dB, at most 100.
        ms_ssim: In [0, 1]; None if the picture is smaller than its window.
        quality: The quality setting; None for vqgen.
    """

    name: str
    picture: Image.Image
    data: bytes
    psnr: float
    ms_ssim: float | None
    quality: int | None = None

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * len(self.data) / (self.picture.width * self.picture.height)


@dataclass(frozen=True)
class CodedLevel:
    """The codes of a level in each coder.

    Attributes:
        name: Name of the level.
        height: Rows of its grid.
        width: Columns of its grid.
        lengths: Coder -> bytes of the segment.
        chosen: The coder in the file.
    """

    name: str
    height: int
    width: int
    lengths: Mapping[Coder, int]
    chosen: Coder


@dataclass(frozen=True)
class Compressed:
    """A compressed picture.

    Attributes:
        original: The picture in the colours of the model.
        ours: The file of vqgen.
        peers: The files of other formats, each of the length that comes closest to ours.
        levels: The levels, coarse to fine.
        label: Index of the label that conditions the priors; None without a label.
        notes: Sentences for the user.
    """

    original: Image.Image
    ours: FileOfFormat
    peers: tuple[FileOfFormat, ...]
    levels: tuple[CodedLevel, ...]
    label: int | None
    notes: tuple[str, ...]

    @property
    def other_bytes(self) -> int:
        """Bytes of the file that belong to no level: the header."""
        return len(self.ours.data) - sum(level.lengths[level.chosen] for level in self.levels)

    def document(self) -> dict[str, Any]:
        """Returns all figures as values for JSON."""
        return {
            "width": self.original.width,
            "height": self.original.height,
            "header_bytes": self.other_bytes,
            "label": self.label,
            "levels": [
                {
                    "level": level.name,
                    "grid": [level.height, level.width],
                    "bytes": {coder.name.lower(): length for coder, length in level.lengths.items()},
                    "coder": level.chosen.name.lower(),
                }
                for level in self.levels
            ],
            "formats": [
                {
                    "format": file.name,
                    "bytes": len(file.data),
                    "bpp": file.bpp,
                    "psnr": file.psnr,
                    "ms_ssim": file.ms_ssim,
                    "quality": file.quality,
                }
                for file in (self.ours, *self.peers)
            ],
            "notes": list(self.notes),
        }


def compress_steps(codec: Codec, upload: Upload, label: Label | None = None) -> Iterator[str | Compressed]:
    """Compresses a picture, and yields the name of each step before it; the last item is the result.

    Args:
        codec: The codec of the model.
        upload: The picture.
        label: Name or index of the label; "auto" for the one with the shortest code; None for no label.

    Raises:
        DataError: The label is unknown, or the picture is too narrow.
        ConfigError: The label is "auto", and a prior is missing.
    """
    yield "encode"
    picture, notes = _fitting(in_models_colours(codec, upload.picture))
    notes = [*upload.notes, *notes, *_about_colours(codec, upload.picture)]
    offered = codec.models.offered("auto")
    if Coder.PRIOR in offered and picture.width * picture.height > PRIOR_PIXELS:
        offered -= {Coder.PRIOR}
        label = None
        notes.append(
            f"The prior writes no codes here: above {PRIOR_PIXELS:,} pixels it takes too long for a page. "
            "The command vqgen compress has no such limit."
        )
    codes = choose_labels(codec.models, codec.encode([picture]), label)[0]
    written: dict[Coder, dict[str, Segment]] = {}
    for coder in sorted(offered):
        yield f"write codes ({coder.name.lower()})"
        written[coder] = encode_streams(codec.models, [Stream.of(codes)], frozenset({coder}))[0]
    yield "decode"
    data, chosen = _shortest(codec, codes, written)
    ours = _measured("vqgen", picture, codec.decode([codes])[0], data)
    peers = []
    for name in _PEERS:
        yield f"search the quality of {name}"
        peers.append(_peer(picture, name, len(data)))
    levels = tuple(_level(level, codes, written, chosen[level].coder) for level in codec.models.levels)
    yield Compressed(picture, ours, tuple(peers), levels, read_header(data)[0].label, tuple(notes))


def _fitting(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """Returns the picture with at most `MOST_PIXELS`, and a note if it was scaled down."""
    width, height = picture.size
    if width * height <= MOST_PIXELS:
        return picture, []
    factor = (MOST_PIXELS / (width * height)) ** 0.5
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    text = (
        f"Scaled from {width} x {height} to {size[0]} x {size[1]} pixels for this page. "
        "The command vqgen compress keeps the size."
    )
    return picture.resize(size, Image.Resampling.LANCZOS), [text]


def _about_colours(codec: Codec, picture: Image.Image) -> list[str]:
    is_grey = codec.parts.vqvae.config.image_channels == 1
    return (
        ["The model knows grey only, so the colours are gone in all formats."]
        if is_grey and picture.mode != "L"
        else []
    )


def _shortest(
    codec: Codec, codes: ImageCodes, written: Mapping[Coder, Mapping[str, Segment]]
) -> tuple[bytes, dict[str, Segment]]:
    """Returns the file with the shortest segment of each level, and these segments.

    A file that does not decode to its codes on this machine is written without the prior.
    """
    for coders in (list(written), [coder for coder in written if coder is not Coder.PRIOR]):
        # `min` takes the first of equal lengths: the coder that needs fewer models to decode.
        chosen = {
            level: min((written[coder][level] for coder in coders), key=lambda segment: len(segment.data))
            for level in codec.models.levels
        }
        data = write_image_file(codec.models, codes, chosen)
        decoded = codec.unpack([data])[0]
        if isinstance(decoded, ImageCodes) and decoded.equals(codes):
            return data, chosen
    raise DataError("the codes do not decode to themselves on this machine; `vqgen doctor` may show the reason")


def _level(name: str, codes: ImageCodes, written: Mapping[Coder, Mapping[str, Segment]], chosen: Coder) -> CodedLevel:
    height, width = codes.grids[name].shape
    return CodedLevel(name, height, width, {coder: len(each[name].data) for coder, each in written.items()}, chosen)


def _peer(original: Image.Image, name: str, length: int) -> FileOfFormat:
    """Writes a picture in another format, with the quality whose file is nearest in length."""
    quality = nearest_peer(original, _PEERS[name], length).quality
    assert quality is not None
    data = write_peer(original, _PEERS[name], quality)
    with Image.open(io.BytesIO(data)) as opened:
        # WebP has no grey mode.
        restored = opened.convert(original.mode)
    return replace(_measured(name, original, restored, data), quality=quality)


def _measured(name: str, original: Image.Image, restored: Image.Image, data: bytes) -> FileOfFormat:
    return FileOfFormat(name, restored, data, psnr(original, restored), ms_ssim(original, restored))
