"""Entropy regularization: each latent should be sure of its code, and all codes should be used alike.

Legend: `n` flattened positions, `d` embedding, `k` codes, `g` groups of codes that are chosen independently, `v` values
of a group.
Source: MAGVIT-v2 (Yu et al. 2023, arXiv 2310.05737), equation 4: E[H(q(z))] - H(E[q(z)]). Deviation: the second term is
linear, with the running mean of q in place of the batch's. So it is a mean over latents, and its gradient is the same
for any number of processes and micro-batches.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vqgen.runtime.collective import all_reduce_sum

_LEAST = 1e-9
"""Floor of a share, far below that of a code which occurs once in a training set; its logarithm stays finite."""

_DECAY = 0.9
"""Decay of the running means: they should follow the codes of the last few steps, or latents run after an old mean."""

_ROWS_ELEMENTS = 1 << 22
"""Elements of the soft assignments that are computed at a time; they are computed again for the gradient."""


class UsageEntropy(nn.Module):
    """The entropy loss of a quantizer, with the running mean of its soft assignments.

    Args:
        weight: Weight of the loss.
        groups: Groups g.
        values: Values v of a group.

    Attributes:
        shares: Running mean of the soft assignments.
        distance: Running mean of the square distance of a latent to its entry. It is the temperature of the
            assignments, so that they are soft on the scale on which entries lie apart.
    """

    shares: Tensor
    distance: Tensor
    moves: Tensor

    def __init__(self, weight: float, groups: int, values: int) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("shares", torch.full((groups, values), 1 / values))
        self.register_buffer("distance", torch.ones(()))
        self.register_buffer("moves", torch.zeros(()))
        self._pending: Tensor | None = None

    def of_distances(self, latents: Float[Tensor, "n d"], entries: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
        """Computes the weighted loss for one group of entries, chosen by q = softmax(-||z - e||^2 / distance)."""
        rows = max(1, _ROWS_ELEMENTS // len(entries))
        parts = [
            # The n x k assignments would stay in memory for the gradient.
            checkpoint(self._sums_of_distances, part, entries, use_reentrant=False)
            for part in latents.split(rows)
        ]
        losses, shares, distances = (torch.stack(each).sum(dim=0) for each in zip(*parts, strict=True))
        self._gather(shares, distances, len(latents))
        return losses * (self.weight / len(latents))

    def of_bits(self, latents: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Computes the weighted loss for bits, one group each, chosen by q(1) = sigmoid(4 z).

        It is softmax(-(z - e)^2) of e = -1 and e = 1. Deviation from the source: entropies add up over bits, as if bits
        were independent.
        """
        logs = torch.stack([nn.functional.logsigmoid(-4 * latents), nn.functional.logsigmoid(4 * latents)], dim=2)
        losses, shares = self._sums(logs)
        self._gather(shares, latents.new_zeros(()), len(latents))
        return losses * (self.weight / len(latents))

    @torch.no_grad()
    def move(self) -> None:
        """Moves the running means by the assignments since the last call, in all processes together."""
        if self._pending is None:
            return
        total = all_reduce_sum(self._pending)
        self._pending = None
        shares, distance, count = total[:-2].view_as(self.shares), total[-2], total[-1]
        # A plain mean at first: the start is no assignment.
        step = (1 / (self.moves + 1)).clamp(min=1 - _DECAY)
        self.shares.lerp_(shares / count, step)
        self.distance.lerp_(distance / count, step)
        self.moves += 1

    def _sums_of_distances(self, latents: Tensor, entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        distances = torch.cdist(latents, entries, compute_mode="use_mm_for_euclid_dist").square()
        logs = (-distances / self.distance.clamp(min=_LEAST)).log_softmax(dim=1)
        return *self._sums(logs[:, None]), distances.detach().amin(dim=1).sum()

    def _sums(self, logs: Float[Tensor, "n g v"]) -> tuple[Tensor, Tensor]:
        """Sums the loss, and the assignments, over latents."""
        shares = logs.exp()
        # sum q (log m - log q): the entropy of a latent, minus the part of the mean's entropy that moves with q.
        loss = (shares * (self.shares.clamp(min=_LEAST).log() - logs)).sum()
        return loss, shares.detach().sum(dim=0)

    def _gather(self, shares: Tensor, distances: Tensor, count: int) -> None:
        if not self.training:
            return
        own = torch.cat([shares.detach().flatten(), distances.view(1), distances.new_full((1,), count)])
        self._pending = own if self._pending is None else self._pending + own
