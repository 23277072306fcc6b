"""Batches of codes for training priors, from a code store.

Legend: `b` images, `h w` grid of the level, `h' w'` grid of the coarser level.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqgen.codes import conditioning_codes
from vqgen.config import PixelCNNConfig
from vqgen.data import CodeStore, TrainingOrder
from vqgen.data.wrong_labels import WrongLabels
from vqgen.runtime.randomness import derive_uniform

AUGMENTED = "train-augmented"
"""Name of the split of augmented training images."""

MIRRORED = "train-mirrored"
"""Name of the split of mirrored training images."""

TRAINING_SPLITS = ("train", AUGMENTED, MIRRORED)
"""Splits that priors are trained on, if the store has them. Their images are numbered in this order."""


@dataclass(frozen=True)
class CodeBatch:
    """Codes of one level to train on.

    Attributes:
        codes: `(b, h, w)` int64.
        coarser: `(b, h', w')` int64, the codes that condition them, from `conditioning_codes`; None at the coarsest
            level.
        labels: `(b,)` int64, -1 for an image without a label.
        uniforms: `(b,)` in [0, 1), draws that decide about label dropout.
        mirrored: `(b,)` bool, True for the codes of a mirrored image.
        wrong_labels: `(b,)` int64, labels that the contrast compares with the true ones, -1 for an image without a
            label; None in a step without contrast.
    """

    codes: Tensor
    coarser: Tensor | None
    labels: Tensor
    uniforms: Tensor
    mirrored: Tensor
    wrong_labels: Tensor | None = None


@dataclass(frozen=True)
class LabelContrast:
    """The steps with wrong labels, and the source of these labels.

    Attributes:
        first_step: The place in the schedule of the first step with wrong labels; all later steps have them too.
        wrong_labels: Draws them.
    """

    first_step: int
    wrong_labels: WrongLabels


class CodeBatches:
    """The training batches of one process: codes of training images, and of their augmented and mirrored versions.

    Args:
        store: The codes.
        prior: The prior that learns.
        order: The images of each step, over all `TRAINING_SPLITS`.
        seed: The stage's seed.
        rank: This process, in [0, world_size).
        world_size: Number of processes.
        contrast: Adds wrong labels; None adds none.
    """

    def __init__(
        self,
        store: CodeStore,
        prior: PixelCNNConfig,
        order: TrainingOrder,
        seed: int,
        rank: int,
        world_size: int,
        contrast: LabelContrast | None = None,
    ) -> None:
        self.store = store
        self.prior = prior
        self.order = order
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.contrast = contrast
        self._place: Callable[[int], int | float] = int

    def follow(self, place: Callable[[int], int | float]) -> None:
        """Takes the place of each step in the schedule: a training that a limit of time shortens has fewer steps."""
        self._place = place

    def steps(self, start: int) -> Iterator[CodeBatch]:
        """Yields this process's share of each step's batch, from step `start` on."""
        for step in range(start, self.order.num_steps):
            positions, indices = self.order.share(step, self.rank, self.world_size)
            by_split = list(self._by_split(indices))
            # A draw belongs to a position in the stream: it survives a restart and any number of processes.
            uniforms = [derive_uniform(self.seed, "label", position) for position in positions]
            parts = [
                read_batch(
                    self.store, split, self.prior, [indices[i] - first for i in rows], [uniforms[i] for i in rows]
                )
                for split, first, rows in by_split
            ]
            batch = parts[0] if len(parts) == 1 else join_batches(parts)
            # The images of a batch are sorted by split now; their positions follow them.
            yield self._contrasted(step, batch, [positions[i] for _, _, rows in by_split for i in rows])

    def _contrasted(self, step: int, batch: CodeBatch, positions: list[int]) -> CodeBatch:
        """Returns the batch with wrong labels, if its step has them; `positions` places its images in the stream."""
        if self.contrast is None or self._place(step) < self.contrast.first_step:
            return batch
        uniforms = torch.tensor([derive_uniform(self.seed, "wrong label", p) for p in positions])
        return replace(batch, wrong_labels=self.contrast.wrong_labels.draw(batch.codes, batch.labels, uniforms))

    def _by_split(self, indices: list[int]) -> Iterator[tuple[str, int, list[int]]]:
        """Yields each split that occurs in a batch: its name, the index of its first image, its rows of the batch."""
        first = 0
        for split in TRAINING_SPLITS:
            count = self.store.info.counts.get(split, 0)
            rows = [row for row, index in enumerate(indices) if first <= index < first + count]
            if rows:
                yield split, first, rows
            first += count

    def global_size(self, step: int) -> int:
        """Returns the number of images in a step's batch, over all processes."""
        return self.order.size(step)


def join_batches(parts: Sequence[CodeBatch]) -> CodeBatch:
    """Concatenates batches of one level, before they have wrong labels."""
    coarser = [part.coarser for part in parts if part.coarser is not None]
    return CodeBatch(
        codes=torch.cat([part.codes for part in parts]),
        coarser=torch.cat(coarser) if coarser else None,
        labels=torch.cat([part.labels for part in parts]),
        uniforms=torch.cat([part.uniforms for part in parts]),
        mirrored=torch.cat([part.mirrored for part in parts]),
    )


def read_batch(
    store: CodeStore, split: str, prior: PixelCNNConfig, indices: list[int], uniforms: list[float]
) -> CodeBatch:
    """Reads the codes that a prior models, the codes that condition them, and the labels."""
    codes, labels = store.batch(split, indices)
    coarser = conditioning_codes(prior, codes.grids)
    mirrored = torch.full((len(indices),), split == MIRRORED)
    return CodeBatch(codes.grids[prior.level], coarser, labels, torch.tensor(uniforms), mirrored)
