"""Vector quantization with a codebook that follows the latents by exponential moving averages.

Legend: `b` batch, `d` embedding, `h w` grid, `n` flattened positions (b * h * w), `k` codebook entries.
Source: VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), equations 1 to 4 and appendix A.1; restarts of
unused codes as in Jukebox (Dhariwal et al. 2020, arXiv 2005.00341), section 3.1. Deviations are named where
they are.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqgen.nn.nearest import mean_square_distance, nearest_codes, sums_and_counts
from vqgen.runtime.collective import all_reduce_sum, gather_rows, row_span
from vqgen.runtime.randomness import derive_seed

_NEAR = 1e-4
"""Distance under which two entries count as equal, as a share of an entry's mean norm: well above rounding."""

_APART = 1e-2
"""How far an entry that equals another is moved, in the same measure: well above what counts as equal."""

_DRAWS = 1 << 62
"""Range of a draw whose remainder chooses one of all latents: so large that none is favoured."""

_LEAST_COUNT = 1e-5
"""Floor of an idle code's moving count: far below any real count, far above where float32 loses digits."""


@dataclass(frozen=True)
class Quantized:
    """What a quantizer returns.

    Attributes:
        quantized: `(b, d, h, w)`, the nearest codebook entries; their gradient goes straight to the latents.
        codes: `(b, h, w)` int64, the indices of these entries.
        commitment_loss: ||z_e - sg(e)||^2, mean over all elements, not yet weighted.
    """

    quantized: Float[Tensor, "b d h w"]
    codes: Int[Tensor, "b h w"]
    commitment_loss: Float[Tensor, ""]


def straight_through(latents: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
    """Passes the gradient of `quantized` to `latents`, as if nothing had been quantized between them.

    The same as `quantized + (latents - latents.detach())` and `(latents - quantized).square().mean()`, whose gradients
    would need several more tensors of the size of the latents.

    Args:
        latents: `(n, d)`.
        quantized: `(n, d)`, their codebook entries, without a gradient of their own.

    Returns:
        `quantized`, bit for bit, and the commitment loss.
    """
    value, commitment_loss = _StraightThrough.apply(latents, quantized)
    return value, commitment_loss


class _StraightThrough(torch.autograd.Function):
    """The gradient of both is made in the one tensor that is returned."""

    @staticmethod
    def forward(ctx, latents: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(latents, quantized)
        return quantized, mean_square_distance(latents, quantized)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor | None, loss_upstream: Tensor | None) -> tuple[Tensor | None, None]:
        if loss_upstream is None:
            return upstream, None
        latents, quantized = ctx.saved_tensors
        gradient = latents - quantized
        scale = loss_upstream * (2 / latents.numel())  # of the mean of squares
        if upstream is None:
            return gradient.mul_(scale), None
        return torch.addcmul(upstream, gradient, scale, out=gradient), None


class VectorQuantizer(nn.Module):
    """Replaces each latent by its nearest codebook entry.

        latents --> nearest entry --> quantized        forward: the codebook as it is
                        |
              counts and sums, pending --> update()    once per optimizer step, over all micro-batches and processes

    The codebook has no gradient: an entry is the moving average of the latents that chose it. Counts start at
    one and sums at the codebook, so that nothing is divided by almost zero (deviation from the paper, which
    leaves the start open; with counts of zero an idle code grows without bound).

    Args:
        codebook_size: Entries k.
        embedding_dim: Dimensions d.
        decay: Decay of the moving averages, in [0, 1).
        data_init: Start at latents of the first training micro-batch, of all processes, instead of at random.
        kmeans_iterations: k-means iterations on it.
        restart_after: Steps without a latent after which a code restarts; 0 never restarts.
        quantize_after: Training steps in which latents pass as they are and the codebook waits. Without them a level
            that a finer one makes superfluous at first is pulled to constant codes, and never recovers.

    Attributes:
        step_seed: Seed of this step's draws; whoever trains sets it before each step, the same in all processes.
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
        codebook = torch.randn(codebook_size, embedding_dim) / embedding_dim**0.5
        self.register_buffer("codebook", codebook)
        self.register_buffer("ema_counts", torch.ones(codebook_size))
        self.register_buffer("ema_sums", codebook.clone())
        self.register_buffer("idle_steps", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("initialized", torch.tensor(not data_init))
        self.register_buffer("steps", torch.tensor(0))
        self._steps = 0  # the same as a number, so that nobody waits for the device
        self._has_run = False
        self._pending: Tensor | None = None
        self._latents: list[Tensor] = []
        self._needs_data = data_init

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Quantizes; in training mode also gathers the statistics that `update` will use."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.codebook.dtype)
            flat = rearrange(latents, "b d h w -> (b h w) d")
            self._has_run = self._has_run or self.training
            if self.training and self._steps < self.quantize_after:
                return self._pass(latents)
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
        """Moves the codebook by what was gathered since the last update, in all processes together.

        Only codes that received something move (deviation: the paper's averages, computed over all codes,
        would move idle ones by rounding alone).
        """
        if not self._has_run:
            return
        self._has_run = False
        self.steps += 1
        self._steps += 1
        if self._pending is None:
            return
        counts, sums = self._reduced_statistics()
        received = counts > 0
        self.ema_counts.mul_(self.decay).add_(counts, alpha=1 - self.decay).clamp_(min=_LEAST_COUNT)
        moved = self.ema_sums * self.decay + sums * (1 - self.decay)
        still = self.codebook * self.ema_counts[:, None]
        self.ema_sums.copy_(torch.where(received[:, None], moved, still))
        entries = self.ema_sums / self.ema_counts[:, None]
        self.codebook.copy_(torch.where(received[:, None], entries, self.codebook))
        self.idle_steps.add_(1).masked_fill_(received, 0)
        if self.restart_after:
            self._restart_idle_codes(self._latents[0] if len(self._latents) == 1 else torch.cat(self._latents))
        self._pending, self._latents = None, []

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._needs_data = not bool(self.initialized)
        self._steps = int(self.steps)

    def _pass(self, latents: Float[Tensor, "b d h w"]) -> Quantized:
        """Leaves the latents as they are; there are no codes yet."""
        codes = torch.zeros(latents.shape[0], *latents.shape[2:], dtype=torch.int64, device=latents.device)
        return Quantized(latents, codes, latents.new_zeros(()))

    def _gather(self, latents: Float[Tensor, "n d"], codes: Int[Tensor, " n"]) -> None:
        """Adds this micro-batch's sums and counts, side by side in one `(k, d + 1)` tensor; keeps its latents."""
        if self._pending is None:
            self._pending = self.codebook.new_zeros(self.codebook.shape[0], self.codebook.shape[1] + 1)
        self._pending += sums_and_counts(latents, codes, self.codebook.shape[0])
        if self.restart_after:
            self._latents.append(latents)

    def _reduced_statistics(self) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
        assert self._pending is not None
        total = all_reduce_sum(self._pending)
        return total[:, -1], total[:, :-1]

    @torch.no_grad()
    def _initialize(self, latents: Float[Tensor, "n d"]) -> None:
        """Starts the codebook at latents chosen by global index, then refines it by k-means."""
        self._needs_data = False
        size = self.codebook.shape[0]
        span = row_span(latents.shape[0], latents.device)
        draws = torch.Generator().manual_seed(derive_seed(self.step_seed, "data-init"))
        order = torch.randperm(int(span[1]), generator=draws)
        chosen = order[torch.arange(size) % len(order)].to(latents.device)
        codebook = _move_apart(gather_rows(latents, chosen, span), draws)
        for _ in range(self.kmeans_iterations):
            statistics = all_reduce_sum(sums_and_counts(latents, nearest_codes(latents, codebook), size))
            counts = statistics[:, -1:]
            codebook = torch.where(counts > 0, statistics[:, :-1] / counts.clamp(min=1), codebook)
        self.codebook.copy_(codebook)
        self.ema_counts.fill_(1)
        self.ema_sums.copy_(codebook)
        self.initialized.fill_(True)

    def _restart_idle_codes(self, latents: Float[Tensor, "n d"]) -> None:
        """Puts long idle codes at latents of this step; entry, sum and count together.

        Every code draws a latent and the idle ones take it: how many these are, the host would have to wait for.
        """
        idle = self.idle_steps >= self.restart_after
        span = row_span(latents.shape[0], latents.device)
        draws = torch.Generator(latents.device).manual_seed(derive_seed(self.step_seed, "restart"))
        chosen = torch.randint(_DRAWS, idle.shape, generator=draws, device=latents.device) % span[1]
        entries = torch.where(idle[:, None], gather_rows(latents, chosen, span), self.codebook)
        fresh = idle & ~_repeats(torch.cat([self.codebook, entries]))[len(idle) :]  # others try again in the next step
        self.codebook.copy_(torch.where(fresh[:, None], entries, self.codebook))
        self.ema_sums.copy_(torch.where(fresh[:, None], entries, self.ema_sums))
        self.ema_counts.masked_fill_(fresh, 1)
        self.idle_steps.masked_fill_(fresh, 0)


def _repeats(entries: Float[Tensor, "m d"]) -> Bool[Tensor, " m"]:
    """Which entries equal an earlier one but for rounding.

    Rounding would decide which of the two is nearer: another number of processes would then train another model.
    Entries are compared along a line on which equal ones are neighbours, so that no m x m distances are needed.
    """
    line = torch.linspace(1, 2, entries.shape[1], dtype=entries.dtype, device=entries.device).sqrt()
    order = (entries @ line).argsort()
    ordered = entries[order]
    apart = (ordered[1:] - ordered[:-1]).norm(dim=1) > _NEAR * entries.norm(dim=1).mean()
    groups = torch.cat([apart.new_zeros(1), apart]).cumsum(dim=0)
    first = torch.full_like(order, len(order)).scatter_reduce(0, groups, order, "amin")
    return torch.zeros_like(order, dtype=torch.bool).scatter(0, order, order != first[groups])


def _move_apart(entries: Float[Tensor, "m d"], draws: torch.Generator) -> Float[Tensor, "m d"]:
    """Moves each entry that repeats an earlier one a little way off, by seeded draws."""
    noise = torch.randn(entries.shape, dtype=torch.float64, generator=draws).to(entries)
    scale = _APART * entries.norm(dim=1).mean() / entries.shape[1] ** 0.5
    return torch.where(_repeats(entries)[:, None], entries + scale * noise, entries)
