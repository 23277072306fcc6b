"""The prior as entropy model of whole grids, for priors that treat all places alike.

There are no tiles: one wavefront runs over the grid of a picture of any size. The prior computes in fixed point, so the
numbers do not depend on the pictures beside it, and pictures of one size are read and written together.

Legend: `b` images, `m` positions of a time, `h w` grid, `k` codebook entries.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import groupby, zip_longest
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vqgen.codec.c_steps import can_compile, steps_of
from vqgen.codec.fixed_prior import FixedPrior, FixedSteps
from vqgen.codec.frequencies import PRECISION
from vqgen.codec.level_stream import LevelStream
from vqgen.codec.range_coder import RangeDecoder, RangeEncoder
from vqgen.errors import BitstreamError
from vqgen.runtime.process_start import returning_memory
from vqgen.runtime.threads import computing_threads, most_threads, threads_of_model

_CODES_OF_A_GROUP = 1 << 14
"""Codes of the images of a stream that take turns; a larger grid goes alone. Files depend on it."""

_CODES_OF_A_RUN = 1 << 16
"""Codes of the images that the prior computes together; a larger grid goes alone. No file depends on it."""

Result = TypeVar("Result")

_Row = tuple[int, int]
"""An image: the index of its stream, and its index there."""


class GridCoder:
    """Writes and reads the codes of a level with its prior.

    Args:
        prior: The prior, in fixed point.
    """

    def __init__(self, prior: FixedPrior) -> None:
        self._prior = prior

    def encode(self, streams: Sequence[LevelStream]) -> list[bytes]:
        """Writes each stream to a segment of its own."""
        return [each for part in self._side_by_side(self._encode, streams) for each in part]

    def bits(self, streams: Sequence[LevelStream]) -> list[float]:
        """Computes -log2 p of all codes of each stream: the length that an ideal coder would write, in bits."""
        return [each for part in self._side_by_side(self._bits, streams) for each in part]

    def choose(
        self,
        stream: LevelStream,
        costs: Callable[[tuple[NDArray[np.int64], NDArray[np.int64]]], NDArray[np.float64]],
        weight: float,
    ) -> bytes:
        """Chooses codes for their costs and their bits, and writes them: at each position the code of the least sum.

        A choice is not revised for its effect on the codes that follow.

        Args:
            stream: A stream of one image; the call fills in its grid.
            costs: Rows and columns of positions, `(m,)` each -> the cost of every code, `(m, k)`.
            weight: Cost of a bit.

        Returns:
            The segment of the chosen codes, as `encode` would write it.
        """
        encoder = RangeEncoder()
        with self._steps([stream], [(0, 0)]) as steps:
            for time in steps.times:
                places = steps.places(time)
                frequencies = steps.frequencies(time)[:, 0]
                bits = PRECISION - np.log2(frequencies)
                codes = (costs(places) + weight * bits).argmin(axis=-1)
                encoder.append(codes, frequencies)
                stream.grids[0][places] = codes
                steps.append(time, codes[:, None])
        return encoder.finish()

    def decode(self, streams: Sequence[LevelStream], segments: Sequence[bytes]) -> None:
        """Reads the codes of each stream from its segment.

        Args:
            streams: The streams; the call fills in their grids, or sets `failure` for a segment that cannot be decoded.
            segments: One per stream.
        """
        self._side_by_side(self._decode, streams, segments)

    def _side_by_side(
        self, act: Callable[..., Result], streams: Sequence[LevelStream], *more: Sequence[bytes]
    ) -> list[Result]:
        """Calls a function with parts of the streams, each in a thread, and returns the results in their order.

        No stream depends on those beside it. A compiled step leaves Python's lock to the other threads; steps of many
        small operations would only wait for it.
        """
        slices = _shares(streams, most_threads() if can_compile(self._prior) else 1)
        if len(slices) < 2:
            return [act(streams, *more)]
        # One thread of torch in each. Set once for all, as the number is that of the whole process.
        with computing_threads(1), ThreadPoolExecutor(len(slices)) as pool:
            return list(pool.map(lambda part: act(streams[part], *(each[part] for each in more)), slices))

    def _encode(self, streams: Sequence[LevelStream]) -> list[bytes]:
        encoders = [RangeEncoder() for _ in streams]
        for rows, codes, frequencies in self._known(streams):
            for row, (index, _) in enumerate(rows):
                encoders[index].append(codes[:, row], frequencies[:, row])
        return [encoder.finish() for encoder in encoders]

    def _bits(self, streams: Sequence[LevelStream]) -> list[float]:
        bits = np.zeros(len(streams))
        for rows, codes, frequencies in self._known(streams):
            found = PRECISION - np.log2(np.take_along_axis(frequencies, codes[..., None], axis=-1))
            np.add.at(bits, [index for index, _ in rows], found.sum(axis=(0, 2)))
        return bits.tolist()

    def _decode(self, streams: Sequence[LevelStream], segments: Sequence[bytes]) -> None:
        decoders = [RangeDecoder(segment) for segment in segments]
        for rows in _runs(streams):
            with self._steps(streams, rows) as steps:
                for time in steps.times:
                    places = steps.places(time)
                    frequencies = steps.frequencies(time)
                    codes = np.zeros(frequencies.shape[:2], dtype=np.int64)
                    for row, (index, image) in enumerate(rows):
                        # Zeros after a failure, so that the streams beside it go on.
                        if streams[index].failure is None:
                            codes[:, row] = _take(decoders[index], streams[index], frequencies[:, row])
                        streams[index].grids[image][places] = codes[:, row]
                    steps.append(time, codes)

    def _known(
        self, streams: Sequence[LevelStream]
    ) -> Iterator[tuple[Sequence[_Row], NDArray[np.int64], NDArray[np.int64]]]:
        """Yields the images of each run with their codes `(m, b)` and the frequencies `(m, b, k)` at each time."""
        for rows in _runs(streams):
            with self._steps(streams, rows) as steps:
                for time in steps.times:
                    places = steps.places(time)
                    codes = np.stack([streams[index].grids[image][places] for index, image in rows], axis=1)
                    yield rows, codes, steps.frequencies(time)
                    # Step by step, although all codes are given: the features of a whole grid would not fit in memory.
                    steps.append(time, codes)

    @contextmanager
    def _steps(self, streams: Sequence[LevelStream], rows: Sequence[_Row]) -> Iterator[FixedSteps]:
        """Sets the prior to the first step of these images, which have one size."""
        prior = self._prior
        device = prior.embedding.device
        index, image = rows[0]
        height, width = streams[index].grids[image].shape
        labels = torch.tensor([streams[index].labels[image] for index, image in rows], device=device)
        coarser = None
        if prior.coarser is not None:
            grids = [grid for index, image in rows if (grid := _coarser_of(streams[index], image)) is not None]
            coarser = torch.from_numpy(np.stack(grids)).to(device)
        of_a_step = len(rows) * height * width / (width + prior.slope * (height - 1))
        # Outside of autocast, which would compute products in fewer bits.
        with (
            returning_memory() if height * width > _CODES_OF_A_RUN else nullcontext(),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            threads_of_model(of_a_step, prior.model),
        ):
            yield steps_of(prior)(prior, height, width, labels, coarser)


def _shares(streams: Sequence[LevelStream], count: int) -> list[slice]:
    """Cuts streams into at most `count` parts of neighbours with about as many codes each."""
    sizes = np.array([sum(grid.size for grid in stream.grids) for stream in streams])
    # The part in which the middle of a stream lies, if all codes stand in a row.
    owners = (count * (sizes.cumsum() - sizes / 2) / sizes.sum()).astype(int)
    parts = (np.flatnonzero(owners == owner) for owner in range(count))
    return [slice(part[0], part[-1] + 1) for part in parts if len(part)]


def _coarser_of(stream: LevelStream, image: int) -> NDArray[np.int64] | None:
    return None if stream.coarser is None else stream.coarser[image]


def _groups(stream: LevelStream) -> Iterator[list[int]]:
    """Groups neighbours of one size. The images of a group take turns at each time, those of another group follow."""
    for (height, width), run in groupby(range(len(stream.grids)), key=lambda image: stream.grids[image].shape):
        images = list(run)
        most = max(1, _CODES_OF_A_GROUP // (height * width))
        yield from (images[begin : begin + most] for begin in range(0, len(images), most))


def _runs(streams: Sequence[LevelStream]) -> Iterator[list[_Row]]:
    """Collects images of one size that the prior computes together: the same group, by number, of several streams."""
    # A stream's groups follow each other, because its range coder is one: all first groups, then all second ones.
    for groups in zip_longest(*map(_groups, streams)):
        by_size: dict[tuple[int, ...], list[list[_Row]]] = {}
        for index, images in enumerate(groups):
            if images is not None:
                rows = [(index, image) for image in images]
                by_size.setdefault(streams[index].grids[images[0]].shape, []).append(rows)
        for (height, width), found in by_size.items():
            run: list[_Row] = []
            for rows in found:
                if run and (len(run) + len(rows)) * height * width > _CODES_OF_A_RUN:
                    yield run
                    run = []
                run = run + rows
            yield run


def _take(decoder: RangeDecoder, stream: LevelStream, frequencies: NDArray[np.int64]) -> NDArray[np.int64]:
    try:
        return decoder.take(len(frequencies), frequencies)
    except BitstreamError as error:
        stream.failure = error
        return np.zeros(len(frequencies), dtype=np.int64)
