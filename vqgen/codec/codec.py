"""Compresses images to `.vqg` files and back.

    pictures -> padded -> VQ-VAE -> codes of each image -> segments -> files
    files -> segments -> codes, checked -> VQ-VAE -> pictures, cut to size

Legend: `b` images, `c` channels, `H W` padded image.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqgen.codec.entropy_models import CodecParts, EntropyModels
from vqgen.codec.header import Coder, ComputeType, Header, LevelHeader, read_header
from vqgen.codec.image_codes import ImageCodes, ImageShape, read_alpha, write_alpha, wrong_codes
from vqgen.codec.labels import Label, choose_labels
from vqgen.codec.pictures import prepare_pictures, restore_picture
from vqgen.codec.segments import CodedStream, Segment, Stream, decode_streams, encode_streams
from vqgen.codes import Codes
from vqgen.data import to_float, to_uint8
from vqgen.errors import BitstreamError, VQGenWarning
from vqgen.runtime.compute import Compute

_PIXELS_AT_ONCE = 1 << 18
"""Pixels that the VQ-VAE is given at once; a larger image goes alone."""

FALL_BACK = frozenset({Coder.PACKED, Coder.STATIC})
"""Coders that need no floating point."""


class Codec:
    """Writes and reads compressed images with the models of a pipeline.

    Args:
        parts: The pipeline; its models are where `compute` says.
        compute: Where and in what the VQ-VAE runs. Priors are run in float64.
    """

    def __init__(self, parts: CodecParts, compute: Compute) -> None:
        self.parts, self.compute = parts, compute
        self.models = EntropyModels(parts, compute)
        self._has_warned = False

    def compress(
        self,
        images: Sequence[Image.Image],
        *,
        label: Label = None,
        coder: str = "auto",
        alpha: str = "drop",
        verify: bool = True,
    ) -> list[bytes]:
        """Compresses pictures, each to the bytes of a `.vqg` file.

        Args:
            images: Pictures of any size and mode; they keep their size.
            label: Name or index of the label that the prior is given, for all; "auto" tries all of them and takes the
                one of the shortest code; None for no label.
            coder: auto (per level the shortest), packed, static or prior.
            alpha: "drop" lays transparent pixels on white, "keep" keeps the alpha plane.
            verify: Decode each file alone and write it without the prior where other codes come out.

        Raises:
            DataError: There is no picture, one is too large, or a label is unknown.
            ConfigError: A choice is unknown, or the pipeline lacks what the coder needs.
        """
        offered = self.models.offered(coder)
        return self.pack(self.encode(images, label=label, alpha=alpha), offered, verify=verify)

    def decompress(self, files: Sequence[bytes]) -> list[Image.Image]:
        """Brings back the pictures of `.vqg` files.

        Raises:
            BitstreamError: One is no such file, is damaged, or was made with other models.
        """
        codes = []
        for number, found in enumerate(self.unpack(files)):
            if isinstance(found, BitstreamError):
                raise found if len(files) == 1 else BitstreamError(f"file {number + 1} of {len(files)}: {found}")
            codes.append(found)
        return self.decode(codes)

    def encode(self, images: Sequence[Image.Image], *, label: Label = None, alpha: str = "drop") -> list[ImageCodes]:
        """Turns pictures into codes; arguments and errors as in `compress`."""
        config = self.parts.vqvae.config
        prepared = prepare_pictures(images, config.image_channels, config.downsample[0], alpha)
        self._warn_of_colours(any(picture.loses_colours for picture in prepared))
        codes: list[ImageCodes] = []
        for part in _batches((picture.pixels.shape[1], picture.pixels.shape[2]) for picture in prepared):
            batch = prepared[part]
            encoded = self._encode(torch.stack([picture.pixels for picture in batch]))
            for picture, grids in zip(batch, encoded, strict=True):
                shape = ImageShape(picture.width, picture.height, picture.rgb, has_alpha=picture.alpha is not None)
                arrays = {level: grid[0].numpy() for level, grid in grids.grids.items()}
                codes.append(ImageCodes(shape, arrays, picture.alpha))
        return choose_labels(self.models, codes, label)

    def decode(self, codes: Sequence[ImageCodes]) -> list[Image.Image]:
        """Turns codes into pictures."""
        images: list[Image.Image] = []
        downsample = self.parts.vqvae.config.downsample
        for part in _batches(_padded_size(each, downsample) for each in codes):
            group = codes[part]
            grids = {
                level: torch.stack([torch.from_numpy(each.grids[level]) for each in group])
                for level in self.models.levels
            }
            for pixels, each in zip(self._decode(Codes(grids)), group, strict=True):
                shape = each.shape
                images.append(restore_picture(pixels, shape.width, shape.height, shape.rgb, each.alpha))
        return images

    def pack(self, codes: Sequence[ImageCodes], offered: frozenset[Coder], *, verify: bool = True) -> list[bytes]:
        """Writes the codes of each image to the bytes of a `.vqg` file.

        Args:
            codes: The images.
            offered: Coders to choose from.
            verify: As in `compress`.
        """
        streams = [Stream([each.shape], {level: [grid] for level, grid in each.grids.items()}) for each in codes]
        segments = encode_streams(self.models, streams, offered)
        files = [self._assemble(each, found) for each, found in zip(codes, segments, strict=True)]
        if not verify:
            return files
        wrong = [index for index, data in enumerate(files) if not self._decodes_to(data, codes[index])]
        if wrong:
            warn_of_fall_back(len(wrong), len(files), "images")
            for index in wrong:
                again = encode_streams(self.models, [streams[index]], self.models.offered("auto") & FALL_BACK)
                files[index] = self._assemble(codes[index], again[0])
                assert self._decodes_to(files[index], codes[index])
        return files

    def unpack(self, files: Sequence[bytes]) -> list[ImageCodes | BitstreamError]:
        """Reads the codes of `.vqg` files, together where they were made in the same compute shape.

        Returns:
            For each file its codes, or why it cannot be decoded.
        """
        results: list[ImageCodes | BitstreamError] = []
        waiting: dict[int, list[tuple[int, Header, CodedStream, bytes]]] = {}
        for data in files:
            try:
                header, stream, rest = self._open(data)
                waiting.setdefault(header.batch_size, []).append((len(results), header, stream, rest))
                results.append(BitstreamError("not decoded"))
            except BitstreamError as error:
                results.append(error)
        for batch_size, entries in waiting.items():
            decoded = decode_streams(self.models, [stream for _, _, stream, _ in entries], batch_size)
            for (index, header, stream, rest), grids in zip(entries, decoded, strict=True):
                results[index] = grids if isinstance(grids, BitstreamError) else _check(header, stream, grids, rest)
        return results

    def check_models(self, vqvae: bytes, models: bytes, coders: frozenset[Coder], levels: int, batch_size: int) -> None:
        """Checks that a file was made with this pipeline; the arguments are what its header says.

        Raises:
            BitstreamError: It was made with another, or with models that this one lacks, or claims to have been
                computed in a shape that takes more memory than any that is written.
        """
        if vqvae != self.models.vqvae_hash:
            raise BitstreamError(
                f"it was made with VQ-VAE {vqvae.hex()}, and pipeline {self.parts.name!r} has "
                f"{self.models.vqvae_hash.hex()}; `vqgen info` shows the VQ-VAE of a checkpoint"
            )
        if levels != len(self.models.levels):
            raise BitstreamError(f"it should have {len(self.models.levels)} levels, found {levels}")
        if Coder.PRIOR in coders:
            for level in self.models.levels:
                self.models.prior(level)
        if Coder.STATIC in coders:
            for level in self.models.levels:
                self.models.frequencies(level)
        if models != self.models.fingerprint(coders):
            raise BitstreamError(
                f"it was made with another prior or other static frequencies ({models.hex()}) than those of pipeline "
                f"{self.parts.name!r} ({self.models.fingerprint(coders).hex()}); open it with the pipeline that made it"
            )
        if batch_size > self.models.batch_size:
            raise BitstreamError(
                f"the priors should be run with at most {self.models.batch_size} tiles at once, found {batch_size}"
            )

    def check_shape(self, shape: ImageShape) -> None:
        """Checks that an image is one that this pipeline can have made.

        Raises:
            BitstreamError: Its label or its colours are none of the model's.
        """
        if shape.label is not None and shape.label >= len(self.parts.label_map):
            raise BitstreamError(f"its label should be below {len(self.parts.label_map)}, found {shape.label}")
        if shape.rgb and self.parts.vqvae.config.image_channels == 1:
            raise BitstreamError("it claims to be in colour, and the model knows grey images only")

    def _warn_of_colours(self, lost: bool) -> None:
        if lost and not self._has_warned:
            self._has_warned = True
            text = "pictures with colours are coded as grey: the model knows grey images only"
            warnings.warn(text, VQGenWarning, stacklevel=3)

    def _assemble(self, codes: ImageCodes, segments: Mapping[str, Segment]) -> bytes:
        coders = frozenset(segment.coder for segment in segments.values())
        by_prior, shape = Coder.PRIOR in coders, codes.shape
        alpha = None if codes.alpha is None else write_alpha(codes.alpha, shape.width)
        header = Header(
            width=shape.width,
            height=shape.height,
            rgb=shape.rgb,
            label=shape.label,
            vqvae=self.models.vqvae_hash,
            models=self.models.fingerprint(coders),
            batch_size=self.models.batch_size if by_prior else 0,
            compute_type=ComputeType.FLOAT64 if by_prior else ComputeType.NONE,
            codes_crc=codes.crc(),
            levels=tuple(_level_header(segment, codes.grids[level]) for level, segment in segments.items()),
            alpha_length=None if alpha is None else len(alpha),
        )
        return header.pack() + b"".join(segment.data for segment in segments.values()) + (alpha or b"")

    def _open(self, data: bytes) -> tuple[Header, CodedStream, bytes]:
        """Header, segments and alpha segment of a file that this pipeline can decode."""
        header, begin = read_header(data)
        coders = frozenset(level.coder for level in header.levels)
        self.check_models(header.vqvae, header.models, coders, len(header.levels), header.batch_size)
        shape = ImageShape(header.width, header.height, header.rgb, header.label, header.alpha_length is not None)
        self.check_shape(shape)
        expected = shape.grid_sizes(self.parts.vqvae.config.downsample)
        found = [(level.height, level.width) for level in header.levels]
        if found != expected:
            raise BitstreamError(f"its grids should be {expected} for its size, found {found}")
        segments = {}
        for name, level in zip(self.models.levels, header.levels, strict=True):
            segments[name] = Segment(level.coder, data[begin : begin + level.length])
            begin += level.length
        return header, CodedStream([shape], segments), data[begin:]

    def _decodes_to(self, data: bytes, codes: ImageCodes) -> bool:
        decoded = self.unpack([data])[0]
        return isinstance(decoded, ImageCodes) and decoded.equals(codes)

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Iterator[Codes]:
        with self.compute.autocast():
            images = to_float(pixels.to(self.compute.device)).to(self.compute.float_dtype)
            return iter(self.parts.vqvae.encode(images).to("cpu"))

    @torch.no_grad()
    def _decode(self, codes: Codes) -> Tensor:
        with self.compute.autocast():
            return to_uint8(self.parts.vqvae.decode(codes.to(self.compute.device)).float()).cpu()


def warn_of_fall_back(wrong: int, total: int, what: str) -> None:
    """Warns that some did not decode to their codes and were written without the prior."""
    warnings.warn(
        f"{wrong} of {total} {what} did not decode to the same codes with the prior, and are written without it",
        VQGenWarning,
        stacklevel=3,
    )


def _level_header(segment: Segment, grid: NDArray[np.int64]) -> LevelHeader:
    height, width = grid.shape
    return LevelHeader(segment.coder, height, width, len(segment.data))


def _check(
    header: Header, stream: CodedStream, grids: Mapping[str, list], alpha_segment: bytes
) -> ImageCodes | BitstreamError:
    """The codes of a file, if they are those that were written."""
    shape = stream.shapes[0]
    try:
        alpha = read_alpha(alpha_segment, shape.width, shape.height) if shape.has_alpha else None
    except BitstreamError as error:
        return error
    codes = ImageCodes(shape, {level: found[0] for level, found in grids.items()}, alpha)
    return codes if codes.crc() == header.codes_crc else wrong_codes("an image")


def _padded_size(codes: ImageCodes, downsample: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns, in pixels, of what the VQ-VAE decodes the codes to."""
    height, width = codes.shape.grid_sizes(downsample)[-1]
    return height * downsample[-1], width * downsample[-1]


def _batches(sizes: Iterable[tuple[int, int]]) -> Iterator[slice]:
    """Neighbours of the same size in pixels, as many as may be computed at once."""
    begin = 0
    for (height, width), group in groupby(sizes):
        most, end = max(1, _PIXELS_AT_ONCE // (height * width)), begin + len(list(group))
        yield from (slice(first, min(first + most, end)) for first in range(begin, end, most))
        begin = end
