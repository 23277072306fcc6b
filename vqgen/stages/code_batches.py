"""Batches of codes for training priors, from a code store.

Legend: `b` images, `h w` grid of the level, `h' w'` grid of the coarser level.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqgen.data import CodeStore, TrainingOrder
from vqgen.randomness import derive_seed

AUGMENTED = "train-augmented"
"""Name of the split of augmented training images."""

MIRRORED = "train-mirrored"
"""Name of the split of mirrored training images."""

TRAINING_SPLITS = ("train", AUGMENTED, MIRRORED)
"""Splits that priors are trained on, where they exist."""


@dataclass(frozen=True)
class CodeBatch:
    """Codes of one level for training.

    Attributes:
        codes: `(b, h, w)` int64.
        coarser: `(b, h', w')` int64, the codes that condition them; None at the coarsest level.
        labels: `(b,)` int64, -1 without a label.
        uniforms: `(b,)` in [0, 1), from which label dropout decides.
        mirrored: `(b,)` bool, whether the codes are of a mirrored image.
    """

    codes: Tensor
    coarser: Tensor | None
    labels: Tensor
    uniforms: Tensor
    mirrored: Tensor


class CodeBatches:
    """One process's training batches from a code store: its training images, their augmented and mirrored versions.

    Args:
        store: The codes.
        level: Level to learn.
        order: Which images each step sees.
        seed: The stage's seed.
        rank: This process.
        world_size: All processes.
    """

    def __init__(
        self, store: CodeStore, level: str, order: TrainingOrder, seed: int, rank: int, world_size: int
    ) -> None:
        self.store, self.level, self.order, self.seed = store, level, order, seed
        self.rank, self.world_size = rank, world_size

    def steps(self, start: int) -> Iterator[CodeBatch]:
        """This process's share of each step's batch from `start` on."""
        for step in range(start, self.order.num_steps):
            positions, indices = self.order.share(step, self.rank, self.world_size)
            uniforms = [derive_seed(self.seed, "label", position) / 2**63 for position in positions]
            parts = [
                read_batch(
                    self.store, split, self.level, [indices[i] - first for i in rows], [uniforms[i] for i in rows]
                )
                for split, first, rows in self._by_split(indices)
            ]
            yield parts[0] if len(parts) == 1 else join_batches(parts)

    def _by_split(self, indices: list[int]) -> Iterator[tuple[str, int, list[int]]]:
        """Split, index of its first image, and places in the batch, for each split that occurs."""
        first = 0
        for split in TRAINING_SPLITS:
            count = self.store.info.counts.get(split, 0)
            rows = [row for row, index in enumerate(indices) if first <= index < first + count]
            if rows:
                yield split, first, rows
            first += count

    def global_size(self, step: int) -> int:
        """Images of a step's batch over all processes."""
        return self.order.size(step)


def join_batches(parts: Sequence[CodeBatch]) -> CodeBatch:
    """Puts batches of one level together."""
    coarser = [part.coarser for part in parts if part.coarser is not None]
    return CodeBatch(
        codes=torch.cat([part.codes for part in parts]),
        coarser=torch.cat(coarser) if coarser else None,
        labels=torch.cat([part.labels for part in parts]),
        uniforms=torch.cat([part.uniforms for part in parts]),
        mirrored=torch.cat([part.mirrored for part in parts]),
    )


def read_batch(store: CodeStore, split: str, level: str, indices: list[int], uniforms: list[float]) -> CodeBatch:
    """Reads a level's codes, those that condition it, and labels."""
    codes, labels = store.batch(split, indices)
    place = codes.levels.index(level)
    coarser = codes.grids[codes.levels[place - 1]] if place else None
    mirrored = torch.full((len(indices),), split == MIRRORED)
    return CodeBatch(codes.grids[level], coarser, labels, torch.tensor(uniforms), mirrored)
