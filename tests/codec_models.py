"""Codes, pictures and archives for the tests of the codec."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_models import make_prior

from vqgen.codec import Codec, ImageCodes, ImageShape, frequencies_of_counts
from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.codec.segments import Stream
from vqgen.errors import BitstreamError
from vqgen.pipeline.parts import PipelineParts
from vqgen.runtime.compute import Compute

_DOWNSAMPLE = {1: (4,), 2: (4, 2), 3: (8, 4, 2)}

CODERS = ("packed", "static", "prior", "auto")
"""All requests for a coder."""


class CountingFile(io.BytesIO):
    """A file that keeps the offsets of the bytes that are read, and their number."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.count = 0
        self.offsets: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        begin = self.tell()
        data = super().read(size)
        self.count += len(data)
        self.offsets.update(range(begin, begin + len(data)))
        return data


def tiny_codec(
    make_parts: Callable[..., PipelineParts],
    num_levels: int = 2,
    seed: int = 0,
    priors: dict[str, Any] | None = None,
    conditioning_grids: int = 1,
    **changes: Any,
) -> Codec:
    """Builds a codec with tiles of 8 x 8 pixels, with frequencies and priors of random weights.

    Args:
        make_parts: The fixture.
        num_levels: 1 to 3.
        seed: Seed of all weights.
        priors: Settings of the priors.
        conditioning_grids: Grids that condition a prior, at most.
        changes: As in `make_parts`.
    """
    parts = make_parts(seed, downsample=_DOWNSAMPLE[num_levels], **changes)
    torch.manual_seed(seed + 100)
    parts.priors = {}
    coarser = 0
    config = parts.vqvae.config
    for index, (level, factor) in enumerate(zip(config.levels, config.grid_factors, strict=True)):
        side = 8 // factor
        settings = {"height": side, "width": side, "coarser_height": coarser, "coarser_width": coarser}
        settings["conditioning_grids"] = config.conditioning_grids(index, conditioning_grids)
        parts.priors[level] = make_prior(level, **(settings | (priors or {}))).eval()
        coarser = side
    counts = torch.randint(0, 1000, (16,), generator=torch.Generator().manual_seed(seed))
    parts.frequencies = {level: frequencies_of_counts(counts.roll(i)) for i, level in enumerate(parts.priors)}
    return Codec(parts, Compute.resolve("cpu"))


def random_codes(codec: Codec, width: int, height: int, seed: int = 0, label: int | None = None) -> ImageCodes:
    """Draws codes of an image of this size, all equally likely."""
    rng = np.random.default_rng(seed)
    shape = ImageShape(width, height, False, label)
    sizes = shape.grid_sizes(codec.parts.vqvae.config.grid_factors)
    grids = {level: rng.integers(0, 16, size) for level, size in zip(codec.models.levels, sizes, strict=True)}
    return ImageCodes(shape, grids)


def varied_codes(codec: Codec, count: int) -> list[ImageCodes]:
    """Draws codes of images of several sizes, with and without labels."""
    sizes = [(8, 8), (8, 8), (9, 3), (1, 1), (40, 24)]
    return [random_codes(codec, *sizes[i % 5], seed=i, label=[None, 0, 2][i % 3]) for i in range(count)]


def decoded(codec: Codec, data: bytes) -> ImageCodes:
    """Reads the codes of one file, or raises its error."""
    found = codec.unpack([data])[0]
    if isinstance(found, BitstreamError):
        raise found
    return found


def write_archive(codec: Codec, images: Sequence[ImageCodes], names: Sequence[str] = (), **options: Any) -> bytes:
    """Writes an archive; images without a name have an empty one."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, codec, **options)
    for index, image in enumerate(images):
        writer.add(image, names[index] if names else "")
    assert writer.finish() == len(file.getvalue())
    return file.getvalue()


def noise_picture(width: int, height: int, mode: str = "L", seed: int = 0) -> Image.Image:
    """Draws a picture of random pixels."""
    bands = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, *bands), dtype=np.uint8))


def stream_of(images: Sequence[ImageCodes]) -> Stream:
    """Puts the codes of images into one stream."""
    return Stream(
        [each.shape for each in images], {level: [each.grids[level] for each in images] for level in images[0].grids}
    )
