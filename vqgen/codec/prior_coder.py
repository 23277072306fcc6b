"""The prior as entropy model: encoder and decoder run the same steps of the order, and count with the same integers.

The network always computes the same shape: `batch_size` tiles at once, in float64, unused rows filled with zeros.
A stream's tiles are taken in groups of `batch_size`; rows that its last group leaves free may go to other streams.

Legend: `t` tiles of a stream, `b` tiles computed at once, `m` positions of a step, `n` positions of a tile, `h w` tile,
`hc wc` coarser tile, `k` codebook entries.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from vqgen.codec.frequencies import frequencies_of_logits
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.errors import BitstreamError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.sampler import evaluation
from vqgen.sampling.step_evaluator import StepEvaluator

_MOST_TILES = 16

_MOST_POSITIONS = 1024

_Rows = list[tuple[int, int]]
"""The tiles that are computed at once: for each row the index of its stream, and the tile."""


@dataclass
class TileStream:
    """The tiles of a level that are written to one segment.

    Attributes:
        codes: int64 `(t, h, w)`; decoding fills them in.
        sources: `(t, h * w)`, see `Tiling.sources`.
        coarser: int64 `(t, hc, wc)`, the same tiles of the coarser level; None for the coarsest.
        labels: int64 `(t,)`, -1 without a label.
        failure: Why it could not be decoded.
    """

    codes: NDArray[np.int64]
    sources: NDArray[np.int64]
    coarser: NDArray[np.int64] | None
    labels: NDArray[np.int64]
    failure: BitstreamError | None = None


class PriorCoder:
    """Writes and reads the codes of a level with its prior.

    Args:
        prior: The prior, in float64 and in evaluation mode.
        batch_size: Tiles computed at once; both sides need the same.
    """

    def __init__(self, prior: PixelCNN, batch_size: int) -> None:
        self.prior, self.batch_size, self.order = prior, batch_size, prior.order
        self._steps = list(enumerate(pairwise(prior.order.offsets.tolist())))

    def encode(self, streams: Sequence[TileStream]) -> list[bytes]:
        """Writes each stream to a segment of its own."""
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
                        kept = inside[row, begin:end]
                        encoders[index].put(codes[row, begin:end][kept], frequencies[kept, row])
                    self._put(evaluator, step, codes[:, begin:end])
        return [encoder.finish() for encoder in encoders]

    def decode(self, streams: Sequence[TileStream], segments: Sequence[bytes]) -> None:
        """Reads the codes of each stream from its segment into `codes`, or the reason why not into `failure`."""
        decoders = [RangeDecoder(segment) for segment in segments]
        for rows in _runs(streams, self.batch_size):
            codes = np.zeros((self.batch_size, self.order.num_positions), dtype=np.int64)  # row-major
            inside = self._inside(streams, rows)
            with self._evaluator(streams, rows) as evaluator:
                for step, (begin, end) in self._steps:
                    frequencies, places = frequencies_of_logits(evaluator.logits(step)), self.order.positions[begin:end]
                    for row, (index, tile) in enumerate(rows):
                        kept = inside[row, begin:end]
                        codes[row, places[kept]] = _take(decoders[index], streams[index], frequencies[kept, row])
                        codes[row, places] = codes[row, streams[index].sources[tile, places]]
                    self._put(evaluator, step, codes[:, places])
            for row, (index, tile) in enumerate(rows):
                streams[index].codes[tile] = codes[row].reshape(self.order.height, self.order.width)

    @contextmanager
    def _evaluator(self, streams: Sequence[TileStream], rows: _Rows) -> Iterator[StepEvaluator]:
        """The prior at its first step, for the tiles in these rows and zeros in those left over."""
        device = self.prior.embedding.weight.device
        labels = np.full(self.batch_size, -1, dtype=np.int64)
        labels[: len(rows)] = [streams[index].labels[tile] for index, tile in rows]
        with evaluation(self.prior), torch.autocast(device.type, enabled=False):
            coarser = self._coarser(streams, rows)
            condition = self.prior.encode_condition(None if coarser is None else torch.from_numpy(coarser).to(device))
            yield StepEvaluator(self.prior, torch.from_numpy(labels).to(device), condition)

    def _put(self, evaluator: StepEvaluator, step: int, codes: NDArray[np.int64]) -> None:
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
        """Which places of each row, in order time, hold codes of the grid."""
        places = self.order.positions
        return np.array([streams[index].sources[tile, places] == places for index, tile in rows])


def canonical_batch_size(num_positions: int) -> int:
    """Tiles computed at once by default: 16 small ones, one of 32 x 32 and more.

    Args:
        num_positions: Positions of the finest prior's grid.
    """
    return max(1, min(_MOST_TILES, _MOST_POSITIONS // num_positions))


def _runs(streams: Sequence[TileStream], batch_size: int) -> Iterator[_Rows]:
    """Groups of a stream's tiles stay together, whoever else is there, so that a stream is the same in any company."""
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
    """The next codes of a stream; zeros once it has failed, so that the other streams go on."""
    if stream.failure is None:
        try:
            return decoder.take(len(frequencies), frequencies)
        except BitstreamError as error:
            stream.failure = error
    return np.zeros(len(frequencies), dtype=np.int64)
