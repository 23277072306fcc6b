"""Starts and restarts of codebook entries at latents, alike for any number of processes.

Legend: `n` latents of this process, `d` embedding, `k` codebook entries.
Source: restarts of unused codes as in Jukebox (Dhariwal et al. 2020, arXiv 2005.00341), section 3.1.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vqgen.nn.nearest import nearest_codes, sums_and_counts
from vqgen.nn.repeats import find_repeats, move_apart
from vqgen.runtime.collective import all_reduce_sum, gather_rows, row_span
from vqgen.runtime.randomness import derive_seed

_DRAWS = 1 << 62
"""Range of a draw whose remainder chooses one of all latents: so large that no latent is favoured."""


def kmeans_entries(
    latents: Float[Tensor, "n d"], size: int, iterations: int, seed: int, settle: Callable[[Tensor], Tensor]
) -> Float[Tensor, "k d"]:
    """Chooses entries among the latents of all processes, then refines them by k-means.

    Args:
        latents: The latents of this process.
        size: Entries k.
        iterations: Iterations of k-means.
        seed: Seed of the choice, the same in all processes.
        settle: Moves centres to the nearest points that an entry may take, such as the unit sphere.
    """
    span = row_span(latents.shape[0], latents.device)
    # Chosen by global index, so that any number of processes starts from the same latents.
    draws = torch.Generator().manual_seed(derive_seed(seed, "data-init"))
    order = torch.randperm(int(span[1]), generator=draws)
    # With fewer latents than codes, some latents are chosen twice or more. These repeats have to move apart.
    chosen = order[torch.arange(size) % len(order)].to(latents.device)
    entries = settle(move_apart(gather_rows(latents, chosen, span), draws))
    for _ in range(iterations):
        statistics = all_reduce_sum(sums_and_counts(latents, nearest_codes(latents, entries), size))
        counts = statistics[:, -1:]
        # A centre without latents stays.
        entries = torch.where(counts > 0, settle(statistics[:, :-1] / counts.clamp(min=1)), entries)
    return entries


def restarted_entries(
    entries: Float[Tensor, "k d"], idle: Bool[Tensor, " k"], latents: Float[Tensor, "n d"], seed: int
) -> tuple[Float[Tensor, "k d"], Bool[Tensor, " k"]]:
    """Replaces idle entries by latents of all processes.

    Every code draws a latent, and only idle codes take it. To draw for idle codes alone, the host would have to wait
    for their number.

    Args:
        entries: The entries.
        idle: The codes that should restart.
        latents: The latents of this process in this step.
        seed: Seed of the draws, the same in all processes.

    Returns:
        All entries, and the codes that restarted.
    """
    span = row_span(latents.shape[0], latents.device)
    draws = torch.Generator(latents.device).manual_seed(derive_seed(seed, "restart"))
    chosen = torch.randint(_DRAWS, idle.shape, generator=draws, device=latents.device) % span[1]
    drawn = torch.where(idle[:, None], gather_rows(latents, chosen, span), entries)
    # An idle code whose draw equals another entry, old or new, stays idle and tries again in the next step.
    fresh = idle & ~find_repeats(torch.cat([entries, drawn]))[len(idle) :]
    return torch.where(fresh[:, None], drawn, entries), fresh
