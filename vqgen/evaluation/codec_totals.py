"""What compressing some images came to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.labels import ideal_bits
from vqgen.codec.segments import Segment
from vqgen.data import normalize_mode
from vqgen.evaluation.pixel_errors import psnr_per_image


def psnr(original: Image.Image, restored: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB, at most 100, in the colours of the restored picture, transparency left out.

    Args:
        original: A picture of any mode.
        restored: One of the same size, `L`, `RGB`, or these with alpha.
    """
    mode = restored.mode.removesuffix("A")
    one = normalize_mode(original, keep_alpha="A" in restored.mode).convert(mode)
    difference = np.asarray(one, dtype=np.float64) - np.asarray(restored.convert(mode), dtype=np.float64)
    return float(psnr_per_image(torch.tensor(np.square(difference / 255).mean())))


class CompressionTotals:
    """Counts images, pixels, bytes and errors.

    Attributes:
        images: Images so far.
    """

    def __init__(self) -> None:
        self.images = 0
        self._pixels = self._source_bytes = 0
        self._psnr = 0.0

    def add(self, originals: Sequence[Image.Image], restored: Sequence[Image.Image], source_bytes: int) -> None:
        """Adds some images.

        Args:
            originals: The pictures.
            restored: What comes back.
            source_bytes: Bytes of their files.
        """
        self.images += len(originals)
        self._pixels += sum(picture.width * picture.height for picture in originals)
        self._source_bytes += source_bytes
        self._psnr += sum(psnr(one, other) for one, other in zip(originals, restored, strict=True))

    def summary(self, where: Path, size: int, coders: Mapping[str, int]) -> str:
        """A line on all images.

        Args:
            where: What was written.
            size: Its bytes.
            coders: How many levels each coder wrote.
        """
        used = ", ".join(f"{name} {count}" for name, count in Counter(coders).most_common())
        return (
            f"{self.images} images in {where}: {size} bytes, {8 * size / self._pixels:.4g} bpp, "
            f"{self._source_bytes / size:.3g} times smaller than the source files, "
            f"PSNR {self._psnr / self.images:.2f} dB; coders of the levels: {used}"
        )


class LevelTotals:
    """Counts the bytes of each level of an archive, and what an ideal coder would have written.

    Args:
        models: The pipeline's models.

    Attributes:
        pixels: Pixels of the images so far.
    """

    def __init__(self, models: EntropyModels) -> None:
        self._models, self.pixels = models, 0
        self._bytes, self._ideal_bits = Counter[str](), dict.fromkeys(models.levels, 0.0)
        self._coders = {level: Counter[str]() for level in models.levels}

    def add(self, images: Sequence[ImageCodes], segments: Sequence[Segment]) -> None:
        """Adds a block."""
        self.pixels += sum(each.shape.width * each.shape.height for each in images)
        for level, segment in zip(self._models.levels, segments, strict=True):
            self._bytes[level] += len(segment.data)
            self._coders[level][segment.coder.name.lower()] += 1
            self._ideal_bits[level] += sum(
                ideal_bits(self._models, each, level, segment.coder, each.shape.label) for each in images
            )

    def lines(self) -> Iterator[str]:
        """A line for each level, coarse to fine."""
        pixels = max(1, self.pixels)
        for level in self._models.levels:
            size, ideal = self._bytes[level], self._ideal_bits[level]
            coders = ", ".join(f"{name} in {count} blocks" for name, count in self._coders[level].most_common())
            yield (
                f"  {level:<8} {coders or 'no codes'}, {size} bytes, {8 * size / pixels:.4g} bpp; "
                f"ideal {ideal / 8:.1f} bytes, {ideal / pixels:.4g} bpp"
            )
