"""The seeded, stratified split of images into training and validation."""

import numpy as np
from numpy.typing import NDArray

from vqgen.errors import DataError
from vqgen.runtime.randomness import derive_seed
from vqgen.storage.names import listed


def stratified_split(
    labels: NDArray[np.int64], names: tuple[str, ...], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Draws a share of each label's images for validation.

    A label with n images gives round(n * fraction) of them, but keeps at least one for training. If no label gives any,
    the largest gives one. A label with one image gives none, so it is not validated. The draw of a label depends on its
    name and size only, not on the rest of the labels.

    Args:
        labels: `(n,)`, indices into `names`; ignored without names.
        names: Names of the labels; without names all images form one group.
        fraction: Share for validation, in (0, 1).
        seed: The run's seed.

    Returns:
        Indices for training and for validation, both ascending.

    Raises:
        DataError: There are fewer than two images, or no label has two.
    """
    if len(labels) < 2:
        raise DataError(f"images to train on should be at least 2, one of them for validation; found {len(labels)}")
    groups = _groups(labels, names)
    if max(len(members) for _, members in groups) < 2:
        raise DataError(
            f"one label should have 2 images at least, one of them for validation; found {len(labels)} labels with one "
            f"image each ({listed([name for name, _ in groups])}). Add images, or a folder of validation images "
            "(train/<label>, val/<label>), or put all images into one folder to train without labels"
        )
    # int(x + 0.5) rounds every half up, where Python's round would send 2.5 down and 3.5 up.
    counts = [max(0, min(len(members) - 1, int(len(members) * fraction + 0.5))) for _, members in groups]
    # Small groups may all round to none, but the choice of the best weights needs an image to validate on.
    if not any(counts):
        counts[int(np.argmax([len(members) for _, members in groups]))] = 1
    held_out = np.zeros(len(labels), dtype=bool)
    for (name, members), count in zip(groups, counts, strict=True):
        # A generator for each name: a new label leaves the split of the old ones as it was.
        generator = np.random.default_rng(derive_seed(seed, "split", name))
        held_out[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out).tolist(), np.flatnonzero(held_out).tolist()


def _groups(labels: NDArray[np.int64], names: tuple[str, ...]) -> list[tuple[str, NDArray[np.int64]]]:
    """Lists each name with the indices of its images, ascending."""
    if not names:
        return [("", np.arange(len(labels)))]
    # One stable sort for all labels: a comparison for each would cost labels times images.
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(names) + 1))
    return [(name, order[starts[index] : starts[index + 1]]) for index, name in enumerate(names)]
