"""Vector quantization with a codebook that follows the latents by exponential moving averages.

Legend: `b` batch, `d` embedding, `h w` grid, `n` flattened positions (b * h * w), `k` codebook entries.
Source: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), equations 1 to 4 and appendix A.1; restarts of
unused codes as in Jukebox (Dhariwal et al. 2020, arXiv 2005.00341), section 3.1. The deviations are named beside the
code.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqgen.nn.nearest import nearest_codes, sums_and_counts
from vqgen.nn.repeats import find_repeats, move_apart
from vqgen.nn.straight_through import straight_through
from vqgen.runtime.collective import all_reduce_sum, gather_rows, row_span
from vqgen.runtime.randomness import derive_seed

_DRAWS = 1 << 62
"""Range of a draw whose remainder chooses one of all latents: so large that no latent is favoured."""

_LEAST_COUNT = 1e-5
"""Floor of the moving count of an idle code: far below a real count, far above numbers where float32 loses digits."""


@dataclass(frozen=True)
class Quantized:
    """The output of a quantizer.

    Attributes:
        quantized: The nearest codebook entries. Their gradient goes straight to the latents.
        codes: The int64 indices of these entries, in [0, k).
        commitment_loss: ||z_e - sg(e)||^2, mean over all elements, not yet weighted.
    """

    quantized: Float[Tensor, "b d h w"]
    codes: Int[Tensor, "b h w"]
    commitment_loss: Float[Tensor, ""]


class VectorQuantizer(nn.Module):
    """A quantizer that replaces each latent by its nearest codebook entry.

        latents --> nearest entry --> quantized        forward: the codebook as it is
                        |
              counts and sums, pending --> update()    once per optimizer step, over all micro-batches and processes

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
        quantize_after: Training steps in which latents pass unchanged and the codebook waits. Without these steps, a
            level that a finer level makes superfluous at first collapses to constant codes and never recovers.

    Attributes:
        step_seed: Seed of the draws of this step. The trainer sets it before each step, to the same value in all
            processes.
    """

    codebook: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    idle_steps: Tensor
    initialized: Tensor
    steps: Tensor

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
    ) -> None:
        super().__init__()
        self.decay = decay
        self.kmeans_iterations = kmeans_iterations
        self.restart_after = restart_after
        self.quantize_after = quantize_after
        self.step_seed = 0
        # In place, as all arithmetic of a model that is built without memory: see `models.checkpoint`.
        codebook = torch.randn(codebook_size, embedding_dim).div_(embedding_dim**0.5)
        self.register_buffer("codebook", codebook)
        self.register_buffer("ema_counts", torch.ones(codebook_size))
        self.register_buffer("ema_sums", codebook.clone())
        self.register_buffer("idle_steps", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("initialized", torch.tensor(not data_init))
        self.register_buffer("steps", torch.tensor(0))
        # Host copies of `steps` and `initialized`: reading the buffers in each step would wait for the device.
        self._steps = 0
        self._needs_data = data_init
        self._has_run = False
        self._pending: Tensor | None = None
        self._latents: list[Tensor] = []

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Quantizes the latents. In training mode it also gathers the statistics for `update`."""
        # Without autocast: in bfloat16, near entries would be at the same distance.
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.codebook.dtype)
            flat = rearrange(latents, "b d h w -> (b h w) d")
            self._has_run = self._has_run or self.training
            if self.training and self._steps < self.quantize_after:
                return self._pass_through(latents)
            if self.training and self._needs_data:
                self._initialize(flat.detach())
            codes = nearest_codes(flat.detach(), self.codebook)
            if self.training:
                self._gather(flat.detach(), codes)
            quantized, commitment_loss = straight_through(flat, nn.functional.embedding(codes, self.codebook))
            sides = {"b": latents.shape[0], "h": latents.shape[2]}
            return Quantized(
                quantized=rearrange(quantized, "(b h w) d -> b d h w", **sides),
                codes=rearrange(codes, "(b h w) -> b h w", **sides),
                commitment_loss=commitment_loss,
            )

    def embed(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Looks up the codebook entries of `codes`."""
        return rearrange(nn.functional.embedding(codes, self.codebook), "b h w d -> b d h w")

    @torch.no_grad()
    def update(self) -> None:
        """Moves the codebook by the statistics since the last update, in all processes together.

        Only codes that received a latent move. (Deviation: the paper averages over all codes, which would move idle
        codes by rounding alone.)
        """
        if not self._has_run:
            return  # no training step since the last update
        self._has_run = False
        self.steps += 1
        self._steps += 1
        if self._pending is None:
            return  # latents still pass unchanged
        counts, sums = self._reduced_statistics()
        received = counts > 0
        # Counts decay without exception, so that a code that was idle for long follows its first new latents.
        self.ema_counts.mul_(self.decay).add_(counts, alpha=1 - self.decay).clamp_(min=_LEAST_COUNT)
        # The sum of an idle code is set to entry x count, so that it shrinks with the count. The entry is not computed
        # again from the two, so it keeps its bits.
        moved = self.ema_sums * self.decay + sums * (1 - self.decay)
        still = self.codebook * self.ema_counts[:, None]
        self.ema_sums.copy_(torch.where(received[:, None], moved, still))
        entries = self.ema_sums / self.ema_counts[:, None]
        self.codebook.copy_(torch.where(received[:, None], entries, self.codebook))
        self.idle_steps.add_(1).masked_fill_(received, 0)
        if self.restart_after:
            self._restart_idle_codes(self._latents[0] if len(self._latents) == 1 else torch.cat(self._latents))
        self._pending = None
        self._latents = []

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._needs_data = not bool(self.initialized)
        self._steps = int(self.steps)

    def _pass_through(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Returns the latents unchanged, with codes of zero: there are no codes yet."""
        codes = torch.zeros(latents.shape[0], *latents.shape[2:], dtype=torch.int64, device=latents.device)
        return Quantized(latents, codes, latents.new_zeros(()))

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
        """Starts the codebook at latents of all processes, then refines it by k-means."""
        self._needs_data = False
        size = self.codebook.shape[0]
        span = row_span(latents.shape[0], latents.device)
        # Chosen by global index, so that any number of processes starts from the same latents.
        draws = torch.Generator().manual_seed(derive_seed(self.step_seed, "data-init"))
        order = torch.randperm(int(span[1]), generator=draws)
        # With fewer latents than codes, some latents are chosen twice or more. These repeats have to move apart.
        chosen = order[torch.arange(size) % len(order)].to(latents.device)
        codebook = move_apart(gather_rows(latents, chosen, span), draws)
        for _ in range(self.kmeans_iterations):
            statistics = all_reduce_sum(sums_and_counts(latents, nearest_codes(latents, codebook), size))
            counts = statistics[:, -1:]
            # A centre without latents stays.
            codebook = torch.where(counts > 0, statistics[:, :-1] / counts.clamp(min=1), codebook)
        self.codebook.copy_(codebook)
        self.ema_counts.fill_(1)
        self.ema_sums.copy_(codebook)
        self.initialized.fill_(True)

    def _restart_idle_codes(self, latents: Float[Tensor, "n d"]) -> None:
        """Restarts codes that were idle for long at latents of this step: entry, sum and count together.

        Every code draws a latent, and only idle codes take it. To draw for idle codes alone, the host would have to
        wait for their number.
        """
        idle = self.idle_steps >= self.restart_after
        span = row_span(latents.shape[0], latents.device)
        draws = torch.Generator(latents.device).manual_seed(derive_seed(self.step_seed, "restart"))
        chosen = torch.randint(_DRAWS, idle.shape, generator=draws, device=latents.device) % span[1]
        entries = torch.where(idle[:, None], gather_rows(latents, chosen, span), self.codebook)
        # An idle code whose draw equals another entry, old or new, stays idle and tries again in the next step.
        fresh = idle & ~find_repeats(torch.cat([self.codebook, entries]))[len(idle) :]
        self.codebook.copy_(torch.where(fresh[:, None], entries, self.codebook))
        self.ema_sums.copy_(torch.where(fresh[:, None], entries, self.ema_sums))
        self.ema_counts.masked_fill_(fresh, 1)
        self.idle_steps.masked_fill_(fresh, 0)
