"""The joint distribution of the codes of all levels, at some codes, and at codes that differ from them in one place.

Legend: `b` images, `r` rows: an image with one other code each, `k` codebook entries, `h w` grid of a level.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vqgen.codes import Codes, conditioning_codes, conditioning_levels
from vqgen.models.pixelcnn import PixelCNN

_WORKING_SET = 1 << 28
"""Bytes of the logits and features that are computed at a time, about: 256 MiB."""


class Joint:
    """p(codes of all levels | label) for a batch of images whose codes change one by one.

    Args:
        priors: The priors, coarse to fine, in evaluation mode.
        codes: The codes, on the device of the priors. They are copied.
        labels: As in `PixelCNN.forward`.

    Attributes:
        priors: The same.
    """

    def __init__(self, priors: Sequence[PixelCNN], codes: Codes, labels: Int64[Tensor, " b"]) -> None:
        self.priors = priors
        self._grids = {prior.config.level: codes.grids[prior.config.level].clone() for prior in priors}
        self._labels = labels
        self._place = 0
        self._rows = min(map(rows_at_a_time, priors))
        self._condition: Float[Tensor, "b c h w"] | None = None
        self._log_probabilities: Float64[Tensor, "b k n"]
        self._own: Float64[Tensor, "b n"]
        self._finer: Float64[Tensor, " b"]

    @property
    def _grid(self) -> Tensor:
        """The codes of the level that was entered."""
        return self._grids[self.priors[self._place].config.level]

    @property
    def codes(self) -> Codes:
        """The codes as they are now."""
        return Codes(dict(self._grids))

    def enter(self, place: int) -> None:
        """Makes level `place` the one that the other methods are about."""
        self._place = place
        prior = self.priors[place]
        every = torch.arange(len(self._labels), device=self._labels.device)
        self._condition = prior.encode_condition(conditioning_codes(prior.config, self._grids))
        shape = (len(every), prior.config.codebook_size, prior.order.num_positions)
        self._log_probabilities = torch.empty(shape, dtype=torch.float64, device=every.device)
        self._own = torch.empty(len(every), shape[2], dtype=torch.float64, device=every.device)
        self._finer = torch.zeros(len(every), dtype=torch.float64, device=every.device)
        self._refresh(every)

    def log_probabilities(self, images: Int64[Tensor, " i"], position: int) -> Float64[Tensor, "i k"]:
        """Returns log p(code | codes before it, coarser codes, label) at a flat position of some images."""
        return self._log_probabilities[images, :, position]

    def codes_at(self, images: Int64[Tensor, " i"], position: int) -> Int64[Tensor, " i"]:
        """Returns the codes at a flat position of some images."""
        return self._grid.flatten(1)[images, position]

    def after(self, images: Int64[Tensor, " i"], position: int) -> Float64[Tensor, " i"]:
        """Returns log p of everything that depends on the code at a position, as the codes are now."""
        return self._own[images][:, self._later(position)].sum(dim=1) + self._finer[images]

    def after_with(
        self, images: Int64[Tensor, " r"], position: int, codes: Int64[Tensor, " r"]
    ) -> Float64[Tensor, " r"]:
        """Computes what `after` would return with another code at the position.

        Args:
            images: Indices of images; an image may stand there several times.
            position: Flat position.
            codes: The other code of each.
        """
        parts = [
            self._after_with(rows, position, values)
            for rows, values in zip(images.split(self._rows), codes.split(self._rows), strict=True)
        ]
        return torch.cat(parts)

    def put(self, images: Int64[Tensor, " i"], position: int, codes: Int64[Tensor, " i"]) -> None:
        """Puts codes at a position of some images."""
        # A view of the grid: it is contiguous.
        self._grid.view(len(self._labels), -1)[images, position] = codes
        self._refresh(images)

    def _after_with(self, images: Tensor, position: int, codes: Tensor) -> Tensor:
        prior = self.priors[self._place]
        grid = self._grid[images]
        grid.view(len(images), -1)[:, position] = codes
        total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        later = self._later(position)
        if later.any():
            condition = None if self._condition is None else self._condition[images]
            _, own = _evaluate(prior, grid, self._labels[images], condition)
            total += own[:, later].sum(dim=1)
        return total + self._of_finer(grid, images)

    def _refresh(self, images: Tensor) -> None:
        """Evaluates the level again for images whose codes have changed."""
        for rows in images.split(self._rows):
            grid = self._grid[rows]
            condition = None if self._condition is None else self._condition[rows]
            self._log_probabilities[rows], self._own[rows] = _evaluate(
                self.priors[self._place], grid, self._labels[rows], condition
            )
            self._finer[rows] = self._of_finer(grid, rows)

    def _of_finer(self, grid: Tensor, images: Tensor) -> Tensor:
        """Computes log p of the finer levels that see this one, given codes of it."""
        total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        level = self.priors[self._place].config.level
        for prior in self.priors[self._place + 1 :]:
            # The levels after these depend on the codes in between alone.
            if level in conditioning_levels(prior.config, tuple(self._grids)):
                grids = {name: each[images] for name, each in self._grids.items()} | {level: grid}
                condition = prior.encode_condition(conditioning_codes(prior.config, grids))
                total += prior.log_likelihood(grids[prior.config.level], self._labels[images], condition)
        return total

    def _later(self, position: int) -> Tensor:
        """Marks the positions whose codes depend on the code at a position."""
        times = self.priors[self._place].order.times.ravel()
        return torch.from_numpy(times > times[position]).to(self._labels.device)


def joint_log_likelihood(
    priors: Sequence[PixelCNN], codes: Codes, labels: Int64[Tensor, " b"]
) -> Float64[Tensor, " b"]:
    """Computes log p(codes of all levels | label) of each image in nats; arguments as in `Joint`."""
    total = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    for prior in priors:
        grid = codes.grids[prior.config.level]
        coarser = conditioning_codes(prior.config, codes.grids)
        for rows in torch.arange(len(labels), device=labels.device).split(rows_at_a_time(prior)):
            condition = prior.encode_condition(None if coarser is None else coarser[rows])
            total[rows] += prior.log_likelihood(grid[rows], labels[rows], condition)
    return total


def rows_at_a_time(prior: PixelCNN) -> int:
    """Returns the images that a prior evaluates at a time, so that logits and features take a working set."""
    config = prior.config
    # Logits in their own dtype and twice in float64; about twelve features of each position are alive in a block.
    each = prior.order.num_positions * (config.codebook_size * 20 + 12 * config.channels * 4)
    return max(1, _WORKING_SET // each)


def _evaluate(
    prior: PixelCNN, grid: Tensor, labels: Tensor, condition: Tensor | None
) -> tuple[Float64[Tensor, "r k n"], Float64[Tensor, "r n"]]:
    """Computes log p of every code at every position, and of the codes that are there."""
    log_probabilities = prior(grid, labels, condition).double().log_softmax(dim=1).flatten(2)
    return log_probabilities, log_probabilities.gather(1, grid.flatten(1)[:, None])[:, 0]
