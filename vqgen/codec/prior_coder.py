"""The prior as entropy model: encoder and decoder run the same steps of the order and use the same integers.

The network always computes the same shape, because a different shape may round differently: `batch_size` tiles at a
time, in float64, with zeros in unused rows. The tiles of a stream are taken in groups of `batch_size`; rows that its
last group leaves free may go to other streams.

Legend: `t` tiles of a stream, `b` tiles at a time, `m` positions of a step, `n` positions of a tile, `h w` tile,
`hc wc` coarser tile, `k` codebook entries.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vqgen.codec.frequencies import frequencies_of_logits
from vqgen.codec.level_stream import LevelStream
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.codec.tiles import Tiling
from vqgen.errors import BitstreamError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.runtime.threads import threads_of_model
from vqgen.sampling.sampler import evaluation, step_threads
from vqgen.sampling.step_evaluator import StepEvaluator

_MOST_TILES = 16

_MOST_POSITIONS = 1024

_TILES_OF_A_PASS = 64

Integer = TypeVar("Integer", bound=np.integer)

_Rows = list[tuple[int, int]]
"""The tiles of one run of the network: for each row the index of its stream, and the index of the tile in it."""


@dataclass
class TileStream:
    """A level cut into tiles of the prior's size.

    Attributes:
        codes: int64 `(t, h, w)`; the decoder fills them in.
        sources: `(t, h * w)`, see `Tiling.sources`.
        coarser: int64 `(t, hc, wc)`, the same tiles of the codes that condition the prior; None for the coarsest level.
        labels: int64 `(t,)`, -1 without a label.
        tilings: The cuttings of the images' grids, whose tiles follow each other.
        failure: The reason why it could not be decoded; None if there is none.
    """

    codes: NDArray[np.int64]
    sources: NDArray[np.integer]
    coarser: NDArray[np.int64] | None
    labels: NDArray[np.int64]
    tilings: Sequence[Tiling]
    failure: BitstreamError | None = None

    @staticmethod
    def of(prior: PixelCNN, stream: LevelStream) -> "TileStream":
        """Cuts the grids of a level, and the same parts of the codes that condition its prior."""
        config = prior.config
        tilings = [Tiling.of(grid, config.height, config.width) for grid in stream.grids]
        coarser = None
        if stream.coarser is not None:
            # Both levels pad to the same stride and their tiles cover the same pixels, so tile i belongs to tile i.
            size = (config.coarser_height, config.coarser_width)
            coarser = _joined([Tiling.of(grid, *size).cut(grid) for grid in stream.coarser])
        return TileStream(
            codes=_joined([tiling.cut(grid) for tiling, grid in zip(tilings, stream.grids, strict=True)]),
            sources=_joined([tiling.sources for tiling in tilings]),
            coarser=coarser,
            labels=np.repeat(stream.labels, [tiling.count for tiling in tilings]),
            tilings=tilings,
        )

    @property
    def grids(self) -> list[NDArray[np.int64]]:
        """The grid of each image, `(height, width)`, joined from its tiles."""
        parts = np.split(self.codes, np.cumsum([tiling.count for tiling in self.tilings])[:-1])
        return [tiling.join(part) for tiling, part in zip(self.tilings, parts, strict=True)]


class PriorCoder:
    """Writes and reads the codes of a level with its prior.

    Args:
        prior: The prior, in float64 and in evaluation mode.
        batch_size: Tiles at a time, `b`; encoder and decoder need the same.
    """

    def __init__(self, prior: PixelCNN, batch_size: int) -> None:
        self.prior = prior
        self.batch_size = batch_size
        self.order = prior.order
        self._steps = list(enumerate(pairwise(prior.order.offsets.tolist())))

    def encode(self, streams: Sequence[LevelStream]) -> list[bytes]:
        """Writes each stream to a segment of its own."""
        return self.encode_tiles([TileStream.of(self.prior, stream) for stream in streams])

    def bits(self, streams: Sequence[LevelStream]) -> list[float]:
        """Computes -log2 p of all codes of each stream: the length that an ideal coder would write, in bits."""
        tiles = [TileStream.of(self.prior, stream) for stream in streams]
        # Only places that are their own source are written; the places beyond the edge cost nothing.
        own = [each.sources == np.arange(each.sources.shape[1]) for each in tiles]
        return [float(tile_bits(self.prior, each)[written].sum()) for each, written in zip(tiles, own, strict=True)]

    def decode(self, streams: Sequence[LevelStream], segments: Sequence[bytes]) -> None:
        """Reads the codes of each stream from its segment.

        Args:
            streams: The streams; the call fills in their grids, or sets `failure` for a segment that cannot be decoded.
            segments: One per stream.
        """
        tiles = [TileStream.of(self.prior, stream) for stream in streams]
        self.decode_tiles(tiles, segments)
        for stream, each in zip(streams, tiles, strict=True):
            stream.failure = each.failure
            for grid, found in zip(stream.grids, each.grids, strict=True):
                grid[:] = found

    def encode_tiles(self, streams: Sequence[TileStream]) -> list[bytes]:
        """Writes each stream of tiles to a segment of its own."""
        encoders = [RangeEncoder() for _ in streams]
        for rows in _runs(streams, self.batch_size):
            codes = np.zeros((self.batch_size, self.order.num_positions), dtype=np.int64)  # in order time
            for row, (index, tile) in enumerate(rows):
                codes[row] = streams[index].codes[tile].reshape(-1)[self.order.positions]
            inside = self._inside(streams, rows)
            with self._evaluator(streams, rows) as evaluator:
                for step, (begin, end) in self._steps:
                    frequencies = frequencies_of_logits(evaluator.logits(step))
                    for row, (index, _) in enumerate(rows):
                        written = inside[row, begin:end]
                        encoders[index].append(codes[row, begin:end][written], frequencies[written, row])
                    # Step by step, although all codes are given: a pass over the whole grid may round differently from
                    # the decoder's steps, and one different frequency breaks the rest of the stream.
                    self._append(evaluator, step, codes[:, begin:end])
        return [encoder.finish() for encoder in encoders]

    def decode_tiles(self, streams: Sequence[TileStream], segments: Sequence[bytes]) -> None:
        """Reads the codes of each stream of tiles from its segment.

        Args:
            streams: The streams; the call sets `codes`, or `failure` for a segment that cannot be decoded.
            segments: One per stream.
        """
        decoders = [RangeDecoder(segment) for segment in segments]
        for rows in _runs(streams, self.batch_size):
            codes = np.zeros((self.batch_size, self.order.num_positions), dtype=np.int64)  # row-major
            inside = self._inside(streams, rows)
            with self._evaluator(streams, rows) as evaluator:
                for step, (begin, end) in self._steps:
                    frequencies = frequencies_of_logits(evaluator.logits(step))
                    places = self.order.positions[begin:end]
                    for row, (index, tile) in enumerate(rows):
                        written = inside[row, begin:end]
                        codes[row, places[written]] = _take(decoders[index], streams[index], frequencies[written, row])
                        # Places beyond the grid's edge repeat the nearest code inside, which an earlier step decoded.
                        codes[row, places] = codes[row, streams[index].sources[tile, places]]
                    self._append(evaluator, step, codes[:, places])
            for row, (index, tile) in enumerate(rows):
                streams[index].codes[tile] = codes[row].reshape(self.order.height, self.order.width)

    @contextmanager
    def _evaluator(self, streams: Sequence[TileStream], rows: _Rows) -> Iterator[StepEvaluator]:
        """Sets the prior to its first step, for the tiles in these rows and zeros in unused rows."""
        device = self.prior.embedding.weight.device
        labels = np.full(self.batch_size, -1, dtype=np.int64)
        labels[: len(rows)] = [streams[index].labels[tile] for index, tile in rows]
        # The caller may be inside autocast of its own, whose lower precision would change the logits.
        own_dtype = torch.autocast(device.type, enabled=False)
        with evaluation(self.prior), own_dtype, step_threads(self.prior, self.batch_size):
            coarser = self._coarser(streams, rows)
            condition = self.prior.encode_condition(None if coarser is None else torch.from_numpy(coarser).to(device))
            yield StepEvaluator(self.prior, torch.from_numpy(labels).to(device), condition)

    def _append(self, evaluator: StepEvaluator, step: int, codes: NDArray[np.int64]) -> None:
        in_step = torch.from_numpy(np.ascontiguousarray(codes.T))
        evaluator.append(step, in_step.to(self.prior.embedding.weight.device))

    def _coarser(self, streams: Sequence[TileStream], rows: _Rows) -> NDArray[np.int64] | None:
        config = self.prior.config
        if not config.is_conditioned:
            return None
        coarser = np.zeros((self.batch_size, config.coarser_height, config.coarser_width), dtype=np.int64)
        for row, (index, tile) in enumerate(rows):
            tiles = streams[index].coarser
            assert tiles is not None
            coarser[row] = tiles[tile]
        return coarser

    def _inside(self, streams: Sequence[TileStream], rows: _Rows) -> NDArray[np.bool_]:
        """Returns a mask of the places inside the grid, `(rows, n)` in order time; only these are written."""
        places = self.order.positions
        return np.array([streams[index].sources[tile, places] == places for index, tile in rows])


@torch.no_grad()
def tile_bits(prior: PixelCNN, tiles: TileStream) -> NDArray[np.float64]:
    """Computes -log2 p of every code of tiles under a prior, `(t, n)`, also of places beyond the grid."""
    device = prior.embedding.weight.device
    parts = []
    # One parallel pass over the whole grid, unlike the coder's steps: a length may differ in its last bits.
    for begin in range(0, len(tiles.codes), _TILES_OF_A_PASS):
        part = slice(begin, begin + _TILES_OF_A_PASS)
        grids, labels = (torch.from_numpy(array[part]).to(device) for array in (tiles.codes, tiles.labels))
        coarser = None if tiles.coarser is None else torch.from_numpy(tiles.coarser[part]).to(device)
        condition = prior.encode_condition(coarser)
        with threads_of_model(grids.numel(), prior):
            nats = -prior(grids, labels, condition).log_softmax(dim=1).gather(1, grids[:, None])
        parts.append(nats.flatten(1).cpu().numpy() / np.log(2))
    return np.concatenate(parts)


def canonical_batch_size(num_positions: int) -> int:
    """Returns the number of tiles at a time in encoding: 16 small ones, one of 32 x 32 or more positions.

    Args:
        num_positions: Positions of the finest prior's grid.
    """
    return max(1, min(_MOST_TILES, _MOST_POSITIONS // num_positions))


def _runs(streams: Sequence[TileStream], batch_size: int) -> Iterator[_Rows]:
    """Collects the tiles of all streams in runs of at most `batch_size` rows.

    A group of a stream's tiles always stays in one run. Its tiles take turns within each step, so a group cut in two
    would be written in another order, and a stream's bytes would depend on the streams beside it.
    """
    rows: _Rows = []
    for index, stream in enumerate(streams):
        for begin in range(0, len(stream.codes), batch_size):
            group = [(index, tile) for tile in range(begin, min(begin + batch_size, len(stream.codes)))]
            if len(rows) + len(group) > batch_size:
                yield rows
                rows = []
            rows += group
    if rows:
        yield rows


def _take(decoder: RangeDecoder, stream: TileStream, frequencies: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reads the next codes of a stream; zeros after it has failed, so that the streams beside it go on."""
    if stream.failure is None:
        try:
            return decoder.take(len(frequencies), frequencies)
        except BitstreamError as error:
            stream.failure = error
    return np.zeros(len(frequencies), dtype=np.int64)


def _joined(parts: Sequence[NDArray[Integer]]) -> NDArray[Integer]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # the codes of one large image are not copied
