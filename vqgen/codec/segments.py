"""Segments: the codes of one level of one stream as bytes, and back.

A stream is the codes of one image (a `.vqg` file) or of the images of an archive's block. Its segments do not depend on
the streams that are coded beside it.

Legend: `n` codes of a level of a stream, row by row, image after image; `t` tiles; `k` codebook entries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.grid_coder import GridCoder, GridStream
from vqgen.codec.header import CODES_PER_BYTE, Coder, ComputeType
from vqgen.codec.image_codes import ImageShape
from vqgen.codec.packed_coder import pack, unpack
from vqgen.codec.prior_coder import PriorCoder, TileStream
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.codec.tiles import Tiling
from vqgen.errors import BitstreamError

Integer = TypeVar("Integer", bound=np.integer)

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
    """

    shapes: Sequence[ImageShape]
    grids: Mapping[str, Grids]


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
    coarser: str | None = None
    for level in models.levels:
        candidates: list[list[Segment]] = [[] for _ in streams]
        for stream, found in zip(streams, candidates, strict=True):
            codes = _flat(stream.grids[level])
            if Coder.PACKED in offered:
                found.append(Segment(Coder.PACKED, pack(codes, models.codebook_size)))
            if Coder.STATIC in offered:
                found.append(Segment(Coder.STATIC, _write_static(codes, models.frequencies(level))))
        # The prior takes all streams together: several small images fill the rows of one run.
        if Coder.PRIOR in offered:
            written = _write_by_prior(models, streams, level, coarser, batch_size or models.batch_size)
            for found, data in zip(candidates, written, strict=True):
                found.append(Segment(Coder.PRIOR, data))
        for result, stream, found in zip(results, streams, candidates, strict=True):
            # `min` takes the first of equal lengths: the coder that needs fewer models to decode.
            shortest = min(found, key=lambda segment: len(segment.data))
            # Readers refuse more than CODES_PER_BYTE codes a byte; decoders read zeros beyond the end anyway.
            least = -(-len(_flat(stream.grids[level])) // CODES_PER_BYTE)
            result[level] = Segment(shortest.coder, shortest.data.ljust(least, b"\0"))
        coarser = level
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
    coarser: str | None = None
    # Level by level over all streams: the coarser grids of a stream condition its finer ones.
    for index, level in enumerate(models.levels):
        by_prior: list[tuple[int, TileStream | GridStream]] = []
        for number, stream in enumerate(streams):
            grids = results[number]
            if isinstance(grids, BitstreamError) or level not in stream.segments:
                continue
            sizes = [shape.grid_sizes(factors)[index] for shape in stream.shapes]
            try:
                if stream.segments[level].coder is Coder.PRIOR:
                    # Cutting needs the sizes of the grids only. The coder fills in the codes.
                    blank = [np.zeros(size, dtype=np.int64) for size in sizes]
                    known = Stream(stream.shapes, {**grids, level: blank})
                    by_prior.append((number, _stream_of_prior(models, known, level, coarser)))
                else:
                    grids[level] = _read_direct(models, stream.segments[level], level, sizes)
            except BitstreamError as error:
                results[number] = error
        _read_by_prior(models, streams, level, by_prior, batch_size, results)
        coarser = level
    return results


def grid_stream(stream: Stream, level: str, coarser: str | None) -> GridStream:
    """Collects the grids of a level, and those of the coarser level; arguments as in `tile_stream`."""
    labels = [-1 if shape.label is None else shape.label for shape in stream.shapes]
    return GridStream(stream.grids[level], None if coarser is None else stream.grids[coarser], labels)


def tile_stream(models: EntropyModels, stream: Stream, level: str, coarser: str | None) -> TileStream:
    """Cuts the grids of a level, and the same parts of the coarser level, into tiles of the prior's size.

    Args:
        models: The models that predict the codes.
        stream: The stream.
        level: The level.
        coarser: The coarser level; None for the coarsest level.
    """
    config = models.prior(level).config
    tilings = [Tiling.of(grid, config.height, config.width) for grid in stream.grids[level]]
    tiles_of_coarser = None
    if coarser is not None:
        # Both levels pad to the same stride and their tiles cover the same pixels, so tile i belongs to tile i.
        size = (config.coarser_height, config.coarser_width)
        tiles_of_coarser = _joined([Tiling.of(grid, *size).cut(grid) for grid in stream.grids[coarser]])
    labels = [-1 if shape.label is None else shape.label for shape in stream.shapes]
    return TileStream(
        codes=_joined([tiling.cut(g) for tiling, g in zip(tilings, stream.grids[level], strict=True)]),
        sources=_joined([tiling.sources for tiling in tilings]),
        coarser=tiles_of_coarser,
        labels=np.repeat(labels, [tiling.count for tiling in tilings]),
        tilings=tilings,
    )


def _stream_of_prior(models: EntropyModels, stream: Stream, level: str, coarser: str | None) -> TileStream | GridStream:
    """Prepares a level for its prior: whole grids for fixed point, tiles of the prior's size for floats."""
    if models.compute_type is ComputeType.FIXED:
        return grid_stream(stream, level, coarser)
    return tile_stream(models, stream, level, coarser)


def _write_by_prior(
    models: EntropyModels, streams: Sequence[Stream], level: str, coarser: str | None, batch_size: int
) -> list[bytes]:
    if models.compute_type is ComputeType.FIXED:
        return GridCoder(models.fixed_prior(level)).encode([grid_stream(each, level, coarser) for each in streams])
    tiles = [tile_stream(models, stream, level, coarser) for stream in streams]
    return PriorCoder(models.prior(level), batch_size).encode(tiles)


def _read_by_prior(
    models: EntropyModels,
    streams: Sequence[CodedStream],
    level: str,
    by_prior: Sequence[tuple[int, TileStream | GridStream]],
    batch_size: int,
    results: list[dict[str, list[NDArray[np.int64]]] | BitstreamError],
) -> None:
    """Decodes, together, a level of all streams that the prior wrote, and enters the grids into the results."""
    segments = [streams[number].segments[level].data for number, _ in by_prior]
    tiles = [each for _, each in by_prior if isinstance(each, TileStream)]
    grids = [each for _, each in by_prior if isinstance(each, GridStream)]
    # One of the two is empty: the models decide.
    if tiles:
        PriorCoder(models.prior(level), batch_size).decode(tiles, segments)
    if grids:
        GridCoder(models.fixed_prior(level)).decode(grids, segments)
    for number, each in by_prior:
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
    return _joined([grid.reshape(-1) for grid in grids])


def _joined(parts: Sequence[NDArray[Integer]]) -> NDArray[Integer]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # the codes of one large image are not copied
