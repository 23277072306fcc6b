"""A codebook that follows the latents by exponential moving averages.

Legend: `n` flattened positions, `d` embedding, `k` codebook entries.
Source: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), equations 1 to 4 and appendix A.1. The deviations are named
beside the code.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from vqgen.nn.nearest import nearest_codes, sums_and_counts
from vqgen.nn.quantizers.base import Assigned, Quantizer, weighted_mean
from vqgen.nn.quantizers.bit_price import BitPrice
from vqgen.nn.quantizers.entropy import UsageEntropy
from vqgen.nn.quantizers.start import kmeans_entries, restarted_entries
from vqgen.nn.straight_through import Estimator, straight_through
from vqgen.runtime.collective import all_reduce_sum

_LEAST_COUNT = 1e-5
"""Floor of the moving count of an idle code: far below a real count, far above numbers where float32 loses digits."""


class EmaQuantizer(Quantizer):
    """A quantizer that replaces each latent by its nearest codebook entry.

    The codebook has no gradient: an entry is the moving average of its latents. Counts start at one and sums at the
    codebook. (The paper leaves the start open. With counts of zero the division by an almost empty count makes an idle
    code grow without bound.)

    Args:
        codebook_size: Entries k.
        embedding_dim: Dimensions d.
        decay: Decay of the moving averages, in [0, 1).
        data_init: True to start at latents of the first training micro-batch of all processes, False to start at
            random.
        kmeans_iterations: k-means iterations over that micro-batch.
        restart_after: Steps without a latent after which a code restarts. 0 never restarts.
        quantize_after: As in `Quantizer`.
        estimator: The gradient of the quantized latents.
        entropy: The entropy loss over all entries; None for none.
        price: Chooses codes where bits have a price; None if they never have.
    """

    codebook: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    idle_steps: Tensor
    initialized: Tensor

    def __init__(
        self,
        codebook_size: int,
        embedding_dim: int,
        *,
        decay: float = 0.99,
        data_init: bool = True,
        kmeans_iterations: int = 10,
        restart_after: int = 100,
        quantize_after: int = 0,
        estimator: Estimator = straight_through,
        entropy: UsageEntropy | None = None,
        price: BitPrice | None = None,
    ) -> None:
        super().__init__(quantize_after)
        self.decay = decay
        self.kmeans_iterations = kmeans_iterations
        self.restart_after = restart_after
        self.estimator = estimator
        self.entropy = entropy
        self.price = price
        # In place, as all arithmetic of a model that is built without memory: see `models.checkpoint`.
        codebook = self.settle_(torch.randn(codebook_size, embedding_dim).div_(embedding_dim**0.5))
        self.register_buffer("codebook", codebook)
        self.register_buffer("ema_counts", torch.ones(codebook_size))
        self.register_buffer("ema_sums", codebook.clone())
        self.register_buffer("idle_steps", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("initialized", torch.tensor(not data_init))
        # A host copy of `initialized`, as `Quantizer` has one of `steps`.
        self._needs_data = data_init
        self._pending: Tensor | None = None
        self._latents: list[Tensor] = []

    def settle_(self, entries: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """Moves means of latents to the nearest points that an entry may take, in place."""
        return entries

    def entries(self) -> Float[Tensor, "k d"]:
        """Returns the codebook."""
        return self.codebook

    def mean_entry(self, frequencies: Shaped[Tensor, " k"] | None = None) -> Float[Tensor, " d"]:
        """Returns the mean of the entries; without frequencies weighted by the moving counts."""
        return weighted_mean(self.codebook, self.ema_counts if frequencies is None else frequencies)

    def assign(self, latents: Float[Tensor, "n d"]) -> Assigned:
        """Chooses the nearest entry of each latent."""
        return self._assign(latents, None)

    def assign_at_prices(self, latents: Float[Tensor, "n d"], prices: Float[Tensor, " n"]) -> Assigned:
        """Chooses the entry of the least distance + price x bits."""
        return self._assign(latents, prices)

    def _assign(self, latents: Float[Tensor, "n d"], prices: Float[Tensor, " n"] | None) -> Assigned:
        latents = self.place(latents)
        if self.training and self._needs_data:
            self._initialize(latents.detach())
        if prices is None:
            codes = nearest_codes(latents.detach(), self.codebook)
        elif self.price is None:
            raise TypeError("prices of bits need a quantizer that was built with one")
        else:
            codes = self.price.codes(latents.detach(), self.codebook, self.ema_counts, prices)
        if self.training:
            self._gather(latents.detach(), codes)
        quantized, commitment_loss = self.estimator(latents, nn.functional.embedding(codes, self.codebook))
        if self.entropy is None or not self.training:
            return Assigned(quantized, codes, commitment_loss)
        return Assigned(quantized, codes, commitment_loss, self.entropy.of_distances(latents, self.codebook))

    def move(self) -> None:
        """Moves the codebook.

        Only codes that received a latent move. (Deviation: the paper averages over all codes, which would move idle
        codes by rounding alone.)
        """
        if self.entropy is not None:
            self.entropy.move()
        if self.price is not None:
            self.price.move()
        counts, sums = self._reduced_statistics()
        received = counts > 0
        # Counts decay without exception, so that a code that was idle for long follows its first new latents.
        self.ema_counts.mul_(self.decay).add_(counts, alpha=1 - self.decay).clamp_(min=_LEAST_COUNT)
        # The sum of an idle code is set to entry x count, so that it shrinks with the count. The entry is not computed
        # again from the two, so it keeps its bits.
        moved = self.ema_sums * self.decay + sums * (1 - self.decay)
        still = self.codebook * self.ema_counts[:, None]
        self.ema_sums.copy_(torch.where(received[:, None], moved, still))
        entries = self.settle_(self.ema_sums / self.ema_counts[:, None])
        self.codebook.copy_(torch.where(received[:, None], entries, self.codebook))
        self.idle_steps.add_(1).masked_fill_(received, 0)
        if self.restart_after:
            self._restart_idle_codes(self._latents[0] if len(self._latents) == 1 else torch.cat(self._latents))
        self._pending = None
        self._latents = []

    def statistics(self) -> list[Tensor]:
        """Returns the moving sums and counts."""
        return [self.ema_sums, self.ema_counts]

    @torch.no_grad()
    def refit(self) -> None:
        """Sets each entry to the quotient of its sum and its count.

        In averages of both, an entry counts by its latents. A code that has restarted had almost none before, so its
        new entry stands at once. An average of the entries would lie between the old place and the new one.
        """
        self.codebook.copy_(self.settle_(self.ema_sums / self.ema_counts[:, None]))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._needs_data = not bool(self.initialized)

    def _gather(self, latents: Float[Tensor, "n d"], codes: Int[Tensor, " n"]) -> None:
        """Adds the sums and counts of a micro-batch, `(k, d + 1)`, and keeps its latents for restarts."""
        if self._pending is None:
            self._pending = self.codebook.new_zeros(self.codebook.shape[0], self.codebook.shape[1] + 1)
        self._pending += sums_and_counts(latents, codes, self.codebook.shape[0])
        if self.restart_after:
            self._latents.append(latents)

    def _reduced_statistics(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
        """Adds up the statistics of all processes."""
        assert self._pending is not None
        # All processes get the same sums, so all codebooks stay the same without a broadcast.
        total = all_reduce_sum(self._pending)
        return total[:, -1], total[:, :-1]

    @torch.no_grad()
    def _initialize(self, latents: Float[Tensor, "n d"]) -> None:
        """Starts the codebook at latents of all processes."""
        self._needs_data = False
        size = self.codebook.shape[0]
        self.codebook.copy_(kmeans_entries(latents, size, self.kmeans_iterations, self.step_seed, self.settle_))
        self.ema_counts.fill_(1)
        self.ema_sums.copy_(self.codebook)
        self.initialized.fill_(True)

    def _restart_idle_codes(self, latents: Float[Tensor, "n d"]) -> None:
        """Restarts codes that were idle for long at latents of this step: entry, sum and count together."""
        idle = self.idle_steps >= self.restart_after
        entries, fresh = restarted_entries(self.codebook, idle, latents, self.step_seed)
        self.codebook.copy_(entries)
        self.ema_sums.copy_(torch.where(fresh[:, None], entries, self.ema_sums))
        self.ema_counts.masked_fill_(fresh, 1)
        self.idle_steps.masked_fill_(fresh, 0)
