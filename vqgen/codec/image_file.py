"""One image as the bytes of a `.vqg` file: header, segments and alpha plane.

    header | segment of each level, coarse to fine | alpha plane

A beginning of it that holds the first levels whole decodes to a preview. `FORMAT.md` describes it byte by byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.compatibility import check_compute_type, check_models, check_shape
from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.file_start import FileStart
from vqgen.codec.header import Coder, ComputeType, Header, LevelHeader, parse_header, wrong_length
from vqgen.codec.image_codes import ImageCodes, ImageShape, read_alpha, write_alpha, wrong_codes
from vqgen.codec.level_choice import LevelChoice, TakenLevels
from vqgen.codec.segments import CodedStream, Segment
from vqgen.errors import BitstreamError


@dataclass(frozen=True)
class OpenedFile:
    """A `.vqg` file with a checked header; its codes are still segments.

    Attributes:
        header: The header.
        stream: The segments of the image, of the levels that are read.
        alpha_segment: The compressed alpha plane; empty without an alpha plane.
        taken: The levels that are decoded.
    """

    header: Header
    stream: CodedStream
    alpha_segment: bytes
    taken: TakenLevels

    def checked(self, grids: Mapping[str, Sequence[NDArray[np.int64]]]) -> ImageCodes:
        """Completes the image, and compares its codes with the CRC-32 in the header if all levels are read.

        Args:
            grids: Level -> the decoded grid, alone in a sequence.

        Raises:
            BitstreamError: The codes or the alpha plane are not those that were written.
        """
        shape = self.stream.shapes[0]
        found = {level: grid[0] for level, grid in grids.items()}
        chosen = {level: found[level] for level in self.taken.names}
        if not self.taken.is_checked:
            return ImageCodes(shape, chosen, cut=self.taken.cut)
        alpha = read_alpha(self.alpha_segment, shape.width, shape.height) if shape.has_alpha else None
        if ImageCodes(shape, found, alpha).crc() != self.header.codes_crc:
            raise wrong_codes("an image")
        return ImageCodes(shape, chosen, alpha)


def write_image_file(models: EntropyModels, codes: ImageCodes, segments: Mapping[str, Segment]) -> bytes:
    """Writes an image as the bytes of a `.vqg` file.

    Args:
        models: The models that the coders used.
        codes: The image.
        segments: Level -> its codes as bytes, coarse to fine.
    """
    coders = frozenset(segment.coder for segment in segments.values())
    by_prior = Coder.PRIOR in coders
    shape = codes.shape
    alpha = None if codes.alpha is None else write_alpha(codes.alpha, shape.width)
    # The fingerprint covers only models in use: a packed file stays readable after the priors are trained again.
    header = Header(
        width=shape.width,
        height=shape.height,
        rgb=shape.rgb,
        label=shape.label,
        vqvae=models.vqvae_hash,
        models=models.fingerprint(coders),
        batch_size=models.batch_size if by_prior else 0,
        compute_type=models.compute_type if by_prior else ComputeType.NONE,
        codes_crc=codes.crc(),
        levels=tuple(_level_header(segment, codes.grids[level]) for level, segment in segments.items()),
        alpha_length=None if alpha is None else len(alpha),
    )
    return header.pack() + b"".join(segment.data for segment in segments.values()) + (alpha or b"")


def open_image_file(models: EntropyModels, file: bytes | FileStart, choice: LevelChoice | None = None) -> OpenedFile:
    """Reads everything but the codes of a `.vqg` file, and checks that these models can decode it.

    Args:
        models: The models.
        file: The file, or its beginning.
        choice: The levels to decode; None for all of a whole file.

    Raises:
        BitstreamError: This is not a `.vqg` file, it is damaged, or other models made it; or it is cut short, and
            partial files are not allowed or have no level whole.
    """
    start = FileStart(file, len(file)) if isinstance(file, bytes) else file
    header = parse_header(start.data)
    cut = wrong_length(header, start.size)
    if choice is None:
        choice = LevelChoice(models.levels, models.levels)
    if cut is not None and start.size > header.file_size:
        raise cut  # surplus bytes are not a cut
    coders = frozenset(level.coder for level in header.levels)
    check_models(models, header.vqvae, header.models, coders, len(header.levels), header.batch_size)
    check_compute_type(models, header.compute_type)
    shape = ImageShape(header.width, header.height, header.rgb, header.label, header.alpha_length is not None)
    check_shape(models, shape)
    # The header repeats the grid sizes, which follow from the image's size, so that files can be inspected alone.
    expected = shape.grid_sizes(models.parts.vqvae.config.grid_factors)
    found = [(level.height, level.width) for level in header.levels]
    if found != expected:
        raise BitstreamError(f"its grids should be {expected} for its size, found {found}")
    needed = header.file_size if choice.needs_all else header.ends[choice.count - 1]
    if len(start.data) < min(needed, start.size):  # a decoder would read zeros in their place
        raise BitstreamError(f"{min(needed, start.size)} bytes of the file should be read, found {len(start.data)}")
    taken = choice.take(header.ends, start.size, cut)
    segments = {}
    for name, level, end in zip(models.levels[: taken.count], header.levels, header.ends, strict=False):
        segments[name] = Segment(level.coder, start.data[end - level.length : end])
    return OpenedFile(header, CodedStream([shape], segments), start.data[header.ends[-1] :], taken)


def _level_header(segment: Segment, grid: NDArray[np.int64]) -> LevelHeader:
    height, width = grid.shape
    return LevelHeader(segment.coder, height, width, len(segment.data))
