"""Totals of compressed images: bytes, bits per pixel, coders, PSNR, and the ideal lengths."""

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BufferedIOBase
from pathlib import Path

import torch
from PIL import Image

from vqgen.codec.archive_layout import read_blocks
from vqgen.codec.archive_reader import ArchiveReader, decode_block
from vqgen.codec.block import read_block
from vqgen.codec.codec import Codec
from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.labels import ideal_bits
from vqgen.codec.segments import Segment
from vqgen.data import normalize_mode
from vqgen.evaluation.large_pictures import mean_square_error
from vqgen.evaluation.pixel_errors import psnr_per_image
from vqgen.storage.names import counted


def psnr(original: Image.Image, restored: Image.Image) -> float:
    """Computes the peak signal-to-noise ratio in dB, at most 100, in the colours of the restored picture.

    Transparency is left out.

    Args:
        original: A picture of any mode.
        restored: A picture of the same size, `L`, `RGB`, or these with alpha.
    """
    mode = restored.mode.removesuffix("A")
    # A file with an alpha plane keeps the colours beneath transparent pixels, so they are compared as they are.
    one = normalize_mode(original, keep_alpha="A" in restored.mode)
    return float(psnr_per_image(torch.tensor(mean_square_error(one, restored, mode), dtype=torch.float64)))


class CompressionTotals:
    """Counts images, pixels and bytes, and adds up the PSNR of images that were decoded again.

    Attributes:
        images: Number of images so far.
    """

    def __init__(self) -> None:
        self.images = 0
        self._pixels = 0
        self._source_bytes = 0
        self._psnr: list[float] = []

    def add(
        self, originals: Sequence[Image.Image], source_bytes: int, restored: Sequence[Image.Image] | None = None
    ) -> None:
        """Adds some images.

        Args:
            originals: The pictures.
            source_bytes: Bytes of their files.
            restored: The decoded pictures; None leaves the PSNR out.
        """
        self.images += len(originals)
        self._pixels += sum(picture.width * picture.height for picture in originals)
        self._source_bytes += source_bytes
        if restored is not None:
            self._psnr += [psnr(one, other) for one, other in zip(originals, restored, strict=True)]

    def summary(self, output: Path, size: int, coders: Mapping[str, int]) -> str:
        """Returns a line about all images.

        Args:
            output: The folder or archive that was written.
            size: Its bytes.
            coders: Name of a coder -> number of levels that it wrote.
        """
        used = ", ".join(f"{name} {count}" for name, count in Counter(coders).most_common())
        parts = [
            f"{counted(self.images, 'image')} in {output}: {size} bytes",
            f"{8 * size / self._pixels:.4g} bpp",
            f"{self._source_bytes / size:.3g} times smaller than the source files",
        ]
        if self._psnr:
            parts.append(f"PSNR {sum(self._psnr) / len(self._psnr):.2f} dB")
        return f"{', '.join(parts)}; coders of the levels: {used}"


class LevelTotals:
    """Counts the bytes of each level of an archive, and the bytes that an ideal coder would need.

    Args:
        models: The models that predict the codes.

    Attributes:
        pixels: Pixels of the images so far.
    """

    def __init__(self, models: EntropyModels) -> None:
        self.pixels = 0
        self._models = models
        self._bytes = Counter[str]()
        self._ideal_bits = dict.fromkeys(models.levels, 0.0)
        self._coders = {level: Counter[str]() for level in models.levels}

    @classmethod
    def of_archive(cls, codec: Codec, file: BufferedIOBase) -> "LevelTotals":
        """Counts the levels of all blocks of an archive.

        Args:
            codec: The codec with the models of the archive.
            file: The archive, in binary, at its beginning.

        Raises:
            BitstreamError: The archive is damaged, or another pipeline made it.
        """
        reader = ArchiveReader(file, codec)
        totals = cls(codec.models)
        for data in read_blocks(file):
            block = read_block(data, codec.parts.vqvae.config.grid_factors, len(codec.parts.label_map))
            totals.add([codes for _, codes in decode_block(codec, reader.header, data)], block.segments)
        return totals

    def add(self, images: Sequence[ImageCodes], segments: Sequence[Segment]) -> None:
        """Adds a block.

        Args:
            images: Its images.
            segments: Its segments, coarse to fine.
        """
        # Pixels without the padding: its codes are a cost of the format, not a part of the picture.
        self.pixels += sum(each.shape.width * each.shape.height for each in images)
        for level, segment in zip(self._models.levels, segments, strict=True):
            self._bytes[level] += len(segment.data)
            self._coders[level][segment.coder.name.lower()] += 1
            # By the model of the coder that wrote the segment: the rest is the loss of the coder itself.
            self._ideal_bits[level] += sum(
                ideal_bits(self._models, each, level, segment.coder, each.shape.label) for each in images
            )

    def rows(self) -> list[list[str]]:
        """Returns the rows of a table: the names of the columns, then a row per level, coarse to fine."""
        # An archive may be empty.
        pixels = max(1, self.pixels)
        rows = [["level", "coders", "bytes", "bpp", "ideal bytes", "ideal bpp"]]
        for level in self._models.levels:
            size = self._bytes[level]
            ideal = self._ideal_bits[level]
            coders = ", ".join(f"{name} in {count} blocks" for name, count in self._coders[level].most_common())
            sizes = [f"{size}", f"{8 * size / pixels:.4g}", f"{ideal / 8:.1f}", f"{ideal / pixels:.4g}"]
            rows.append([level, coders or "no codes", *sizes])
        return rows
