"""The price of a code: bits under the prior, beside coders that need no trained model.

Each level of pictures is priced by four models that know more and more:

    packed      nothing: ceil(log2 k) bits
    histogram   the histogram of these very codes, which a decoder does not have: their entropy of order zero
    context     counts of the codes so far, given three neighbours, as a decoder can keep them: see `context_bits`
    prior       the trained prior

A prior that does not beat `context` by far does not earn its time.

Legend: `n` codes of a level, image after image, row by row; `h w` grid of an image; `k` codebook entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqgen.codec import Coder, EntropyModels, ImageCodes, ideal_bits

_NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1))
"""Rows and columns from a code to its neighbours, the one that tells most first: left, above, above left."""


@dataclass(frozen=True)
class LevelCost:
    """The bits per code of a level.

    Attributes:
        codes: Number of codes.
        packed: Bits of the coder `packed`.
        static: Bits under the frequencies of the training images' codes; None if the pipeline has none.
        histogram: Entropy of the histogram of the codes.
        context: Bits under counts in the context of three neighbours.
        prior: Bits under the prior; None if the pipeline has none, or if it was not asked for.
    """

    codes: int
    packed: float
    static: float | None
    histogram: float
    context: float
    prior: float | None


def histogram_bits(codes: NDArray[np.int64]) -> float:
    """Computes the entropy of order zero, of all codes together: -sum of c log2(c / n) over the counts c.

    A decoder would need the histogram too, whose bits are not counted. Few codes of a large codebook fall into few
    places of the histogram, so their entropy is far below that of many codes.

    Args:
        codes: `(n,)`.
    """
    counts = np.bincount(codes.ravel())
    counts = counts[counts > 0]
    return float((counts * np.log2(len(codes) / counts)).sum())


def context_bits(grids: Sequence[NDArray[np.int64]], codebook_size: int) -> float:
    """Computes -log2 p of all codes under counts that grow from code to code, and from image to image.

    A code is predicted from the codes that followed the same left, upper and upper left neighbour before. Three
    neighbours seldom repeat, so their counts are blended with those of two, of one and of none, and at last with
    1 / k, each by the number u of different codes seen in its context and the number m of codes seen there:

        p_j(x) = (count_j(x) + u_j p_j-1(x)) / (m_j + u_j)

    This is a distribution at every code: the sum of p over all codes is 1. A decoder can count along.

    Args:
        grids: `(h, w)` for each image, at least one code in all.
        codebook_size: `k`.

    Returns:
        The length in bits.

    Source: Witten and Bell 1991, "The zero-frequency problem", method C, interpolated.
    """
    codes = np.concatenate([grid.ravel() for grid in grids])
    neighbours = [np.concatenate([_shifted(grid, *offset).ravel() for grid in grids]) for offset in _NEIGHBOURS]
    probability = np.full(len(codes), 1 / codebook_size)
    context = np.zeros(len(codes), dtype=np.int64)
    for order in range(len(_NEIGHBOURS) + 1):
        if order:
            # A neighbour beyond the edge is -1. Contexts are numbered anew each time, so that they stay below n * k.
            pairs = context * (codebook_size + 1) + neighbours[order - 1] + 1
            context = np.unique(pairs, return_inverse=True)[1].reshape(-1)
        seen, same, different = _counts_so_far(context, context * codebook_size + codes)
        mixed = (same + different * probability) / np.maximum(seen + different, 1)
        probability = np.where(seen > 0, mixed, probability)
    return float(-np.log2(probability).sum())


class CodeCosts:
    """Adds up the prices of the codes of pictures.

    Args:
        models: The models that predict the codes.
        with_prior: False leaves the prior out, which takes a pass of its network over all codes.
    """

    def __init__(self, models: EntropyModels, *, with_prior: bool = True) -> None:
        self._models = models
        self._coders = {Coder.STATIC: models.parts.frequencies, Coder.PRIOR: models.parts.priors if with_prior else {}}
        self._grids: dict[str, list[NDArray[np.int64]]] = {level: [] for level in models.levels}
        self._bits = {coder: dict.fromkeys(models.levels, 0.0) for coder in self._coders}

    def add(self, codes: ImageCodes) -> None:
        """Adds the codes of a picture."""
        for level in self._models.levels:
            self._grids[level].append(codes.grids[level])
            for coder, owners in self._coders.items():
                if level in owners:
                    self._bits[coder][level] += ideal_bits(self._models, codes, level, coder, codes.shape.label)

    def levels(self) -> dict[str, LevelCost]:
        """Returns the cost of each level that has codes, coarse to fine."""
        return {level: self._cost(level, grids) for level, grids in self._grids.items() if grids}

    def _cost(self, level: str, grids: Sequence[NDArray[np.int64]]) -> LevelCost:
        codes = np.concatenate([grid.ravel() for grid in grids])
        size = self._models.codebook_size

        def of_coder(coder: Coder) -> float | None:
            return self._bits[coder][level] / len(codes) if level in self._coders[coder] else None

        return LevelCost(
            codes=len(codes),
            packed=float((size - 1).bit_length()),
            static=of_coder(Coder.STATIC),
            histogram=histogram_bits(codes) / len(codes),
            context=context_bits(grids, size) / len(codes),
            prior=of_coder(Coder.PRIOR),
        )


def _shifted(grid: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.int64]:
    """Returns, at each place, the code at the neighbouring place; -1 beyond the edge."""
    padded = np.pad(grid, 1, constant_values=-1)
    height, width = grid.shape
    return padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]


def _counts_so_far(
    context: NDArray[np.int64], pair: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Counts, before each code, the codes in its context, the equal ones among them, and the different ones.

    Args:
        context: `(n,)`, a number for each context.
        pair: `(n,)`, a number for each context with its code.
    """
    same = _earlier(pair)
    # Each first code of its kind adds one to the different codes of its context, from the next code on.
    is_first = same == 0
    order = np.argsort(context, kind="stable")
    firsts = np.cumsum(is_first[order]) - is_first[order]
    starts = np.flatnonzero(np.diff(context[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    different = np.empty_like(same)
    different[order] = firsts - np.repeat(firsts[starts], lengths)
    return _earlier(context), same, different


def _earlier(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns, at each place, the number of equal keys before it."""
    # A stable sort keeps equal keys in order: the place in its group is the number of those before it.
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    lengths = np.diff(starts, append=len(keys))
    counts = np.empty_like(keys)
    counts[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return counts
