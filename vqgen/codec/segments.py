"""Segments: the codes of one level of one stream as bytes, and back.

A stream is the codes of one image (a `.vqg` file) or of the images of an archive's block. Its segments do not depend on
the streams that are coded beside it.

Legend: `n` codes of a level of a stream, row by row, image after image; `t` tiles; `k` codebook entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.grid_coder import GridCoder
from vqgen.codec.header import CODES_PER_BYTE, Coder, ComputeType
from vqgen.codec.image_codes import ImageCodes, ImageShape
from vqgen.codec.level_stream import LevelStream
from vqgen.codec.packed_coder import pack, unpack
from vqgen.codec.prior_coder import PriorCoder
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.codes import conditioning_levels, join_codes
from vqgen.errors import BitstreamError

Grids = Sequence[NDArray[np.int64]]
"""The grids of a level, one for each image of a stream."""


@dataclass(frozen=True)
class Segment:
    """The codes of a level as bytes.

    Attributes:
        coder: The coder that wrote them.
        data: The bytes.
    """

    coder: Coder
    data: bytes


@dataclass(frozen=True)
class Stream:
    """Images that are written together.

    Attributes:
        shapes: The properties of each image.
        grids: Level -> grids, coarse to fine.
        written: Level -> the segment that the prior has written for these grids; None if it has written none.
    """

    shapes: Sequence[ImageShape]
    grids: Mapping[str, Grids]
    written: Mapping[str, bytes] | None = None

    @staticmethod
    def of(codes: ImageCodes) -> "Stream":
        """Returns the stream of one image."""
        return Stream([codes.shape], {level: [grid] for level, grid in codes.grids.items()}, codes.written)


@dataclass(frozen=True)
class CodedStream:
    """A stream as segments.

    Attributes:
        shapes: The properties of each image.
        segments: Level -> segment, coarse to fine. The finest levels may be missing, and are then not decoded.
    """

    shapes: Sequence[ImageShape]
    segments: Mapping[str, Segment]


def encode_streams(
    models: EntropyModels, streams: Sequence[Stream], offered: frozenset[Coder], batch_size: int | None = None
) -> list[dict[str, Segment]]:
    """Writes each level of each stream with the coder that needs the fewest bytes.

    Args:
        models: The models that predict the codes.
        streams: The streams.
        offered: The coders to choose from, at least one.
        batch_size: Tiles that the priors evaluate at a time; None for the number of new files.

    Returns:
        Level -> segment, for each stream.
    """
    results: list[dict[str, Segment]] = [{} for _ in streams]
    for level in models.levels:
        candidates: list[list[Segment]] = [[] for _ in streams]
        for stream, found in zip(streams, candidates, strict=True):
            codes = _flat(stream.grids[level])
            if Coder.PACKED in offered:
                found.append(Segment(Coder.PACKED, pack(codes, models.codebook_size)))
            if Coder.STATIC in offered:
                found.append(Segment(Coder.STATIC, _write_static(codes, models.frequencies(level))))
        if Coder.PRIOR in offered:
            written = _write_by_prior(models, streams, level, batch_size or models.batch_size)
            for found, data in zip(candidates, written, strict=True):
                found.append(Segment(Coder.PRIOR, data))
        for result, stream, found in zip(results, streams, candidates, strict=True):
            # `min` takes the first of equal lengths: the coder that needs fewer models to decode.
            shortest = min(found, key=lambda segment: len(segment.data))
            # Readers refuse more than CODES_PER_BYTE codes a byte; decoders read zeros beyond the end anyway.
            least = -(-len(_flat(stream.grids[level])) // CODES_PER_BYTE)
            result[level] = Segment(shortest.coder, shortest.data.ljust(least, b"\0"))
    return results


def decode_streams(
    models: EntropyModels, streams: Sequence[CodedStream], batch_size: int
) -> list[dict[str, list[NDArray[np.int64]]] | BitstreamError]:
    """Reads streams; a stream that cannot be read leaves the streams beside it as they are.

    Args:
        models: The models that predict the codes.
        streams: The streams.
        batch_size: Tiles that the priors evaluated at a time when the streams were written.

    Returns:
        For each stream, level -> grids, coarse to fine; or the reason why it cannot be decoded.
    """
    results: list[dict[str, list[NDArray[np.int64]]] | BitstreamError] = [{} for _ in streams]
    factors = models.parts.vqvae.config.grid_factors
    # Level by level over all streams: the coarser grids of a stream condition its finer ones.
    for index, level in enumerate(models.levels):
        by_prior: dict[int, LevelStream] = {}
        for number, stream in enumerate(streams):
            grids = results[number]
            if isinstance(grids, BitstreamError) or level not in stream.segments:
                continue
            sizes = [shape.grid_sizes(factors)[index] for shape in stream.shapes]
            try:
                if stream.segments[level].coder is Coder.PRIOR:
                    blank = [np.zeros(size, dtype=np.int64) for size in sizes]
                    known = Stream(stream.shapes, {**grids, level: blank})
                    by_prior[number] = level_stream(models, known, level)
                else:
                    grids[level] = _read_direct(models, stream.segments[level], level, sizes)
            except BitstreamError as error:
                results[number] = error
        _read_by_prior(models, streams, level, by_prior, batch_size, results)
    return results


def level_stream(models: EntropyModels, stream: Stream, level: str) -> LevelStream:
    """Collects the grids of a level, and the codes that condition its prior.

    Args:
        models: The models that predict the codes.
        stream: The stream, with the grids of this level and of all before it.
        level: The level.

    Raises:
        BitstreamError: The pipeline has no prior for this level.
    """
    labels = [-1 if shape.label is None else shape.label for shape in stream.shapes]
    names = conditioning_levels(models.prior(level).config, tuple(stream.grids))
    coarser = [
        join_codes(grids, models.codebook_size) for grids in zip(*(stream.grids[each] for each in names), strict=True)
    ]
    return LevelStream(stream.grids[level], coarser if names else None, labels)


def prior_coder(models: EntropyModels, level: str, batch_size: int) -> GridCoder | PriorCoder:
    """Returns the coder of a level's prior: for whole grids in fixed point, for tiles of the prior's size in floats.

    Args:
        models: The models that predict the codes.
        level: The level.
        batch_size: Tiles that the prior evaluates at a time.
    """
    if models.compute_type is ComputeType.FIXED:
        return GridCoder(models.fixed_prior(level))
    return PriorCoder(models.prior(level), batch_size)


def _write_by_prior(models: EntropyModels, streams: Sequence[Stream], level: str, batch_size: int) -> list[bytes]:
    """Writes a level of each stream with its prior, unless the search for a rate has done so."""
    segments = {number: each.written[level] for number, each in enumerate(streams) if each.written is not None}
    left = [number for number in range(len(streams)) if number not in segments]
    if left:
        # All streams together: several small images fill the rows of one run.
        taken = [level_stream(models, streams[number], level) for number in left]
        segments |= zip(left, prior_coder(models, level, batch_size).encode(taken), strict=True)
    return [segments[number] for number in range(len(streams))]


def _read_by_prior(
    models: EntropyModels,
    streams: Sequence[CodedStream],
    level: str,
    by_prior: Mapping[int, LevelStream],
    batch_size: int,
    results: list[dict[str, list[NDArray[np.int64]]] | BitstreamError],
) -> None:
    """Decodes, together, a level of all streams that the prior wrote, and enters the grids into the results."""
    if not by_prior:
        return
    segments = [streams[number].segments[level].data for number in by_prior]
    prior_coder(models, level, batch_size).decode(list(by_prior.values()), segments)
    for number, each in by_prior.items():
        found = results[number]
        if each.failure is not None or isinstance(found, BitstreamError):
            results[number] = each.failure or found
        else:
            found[level] = list(each.grids)


def _read_direct(
    models: EntropyModels, segment: Segment, level: str, sizes: Sequence[tuple[int, int]]
) -> list[NDArray[np.int64]]:
    """Decodes a segment that needs no prior, and splits its codes into the grids of the images."""
    counts = [height * width for height, width in sizes]
    if segment.coder is Coder.PACKED:
        codes = unpack(segment.data, sum(counts), models.codebook_size)
    else:
        codes = RangeDecoder(segment.data).take(sum(counts), models.frequencies(level))
    parts = np.split(codes, np.cumsum(counts)[:-1])
    return [part.reshape(size) for part, size in zip(parts, sizes, strict=True)]


def _write_static(codes: NDArray[np.int64], frequencies: NDArray[np.int64]) -> bytes:
    encoder = RangeEncoder()
    encoder.append(codes, frequencies)
    return encoder.finish()


def _flat(grids: Grids) -> NDArray[np.int64]:
    parts = [grid.reshape(-1) for grid in grids]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # the codes of one large image are not copied
