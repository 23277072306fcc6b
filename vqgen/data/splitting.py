"""The seeded, stratified split of images into training and validation."""

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed


def stratified_split(
    labels: NDArray[np.int64], names: tuple[str, ...], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Draws a share of each class for validation.

    A class of n images gives round(n * fraction), but keeps one for training; if that gives none at all, the largest
    class gives one. The draw of a class depends on its name and size only, not on the other classes.

    Args:
        labels: `(n,)`, indices into `names`; not looked at when there are no names.
        names: Names of the classes; empty treats all images as one class.
        fraction: Share for validation, in (0, 1).
        seed: The run's seed.

    Returns:
        Indices for training and for validation, each ascending.

    Raises:
        DataError: There are fewer than two images.
    """
    if len(labels) < 2:
        raise DataError(f"images to train on should be at least 2, one of them for validation; found {len(labels)}")
    classes = _members(labels, names)
    counts = [max(0, min(len(members) - 1, int(len(members) * fraction + 0.5))) for _, members in classes]
    if not any(counts):
        counts[int(np.argmax([len(members) for _, members in classes]))] = 1
    held_out = np.zeros(len(labels), dtype=bool)
    for (name, members), count in zip(classes, counts, strict=True):
        generator = np.random.default_rng(derive_seed(seed, "split", name))
        held_out[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out).tolist(), np.flatnonzero(held_out).tolist()


def _members(labels: NDArray[np.int64], names: tuple[str, ...]) -> list[tuple[str, NDArray[np.int64]]]:
    if not names:
        return [("", np.arange(len(labels)))]
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(names) + 1))
    return [(name, order[starts[index] : starts[index + 1]]) for index, name in enumerate(names)]
