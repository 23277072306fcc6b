"""Nearest codebook entries and the statistics of their latents, computed in parts that fit the cache.

Legend: `n` latents, `d` embedding, `k` codebook entries.
"""

from math import inf, isqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CHUNK_ELEMENTS = 1 << 20
"""Elements of a part on a CPU: 4 MiB of float32, so that distances stay in the cache from product to minimum."""

_ACCELERATOR_CHUNK_ELEMENTS = 1 << 24
"""Elements of a part on an accelerator, which a small part would not fill: 64 MiB of float32 for any n and k."""


@torch.no_grad()
def nearest_codes(
    latents: Float[Tensor, "n d"],
    codebook: Float[Tensor, "k d"],
    *,
    costs: Float[Tensor, " k"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
) -> Int[Tensor, " n"]:
    """Finds the nearest entry of each latent, argmin_j ||z - e_j||^2.

    Args:
        latents: Any number of latents.
        codebook: The entries, at least one.
        costs: A cost of each entry; it counts as a squared distance, times the weight of the latent.
        weights: The weight of each latent; given if there are costs.

    Returns:
        Indices in [0, k). Of equally near entries the first.
    """
    elements = _chunk_elements(latents.device)
    # The n x k distances are computed in tiles. A square tile reads least for each of its distances.
    width = min(len(codebook), isqrt(elements))
    height = max(1, min(len(latents), elements // width))
    half_norms = codebook.square().sum(dim=1) / 2
    # Without costs the arithmetic is that of before, to the last bit.
    parts = [None] * len(latents) if costs is None or weights is None else (weights / 2).split(height)
    codes = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
    # All tiles share this memory. Otherwise the system would map new pages for each tile.
    room = latents.new_empty(height * width)
    for rows, chosen, part in zip(latents.split(height), codes.split(height), parts, strict=False):
        smallest = rows.new_full((len(rows),), inf)
        for start in range(0, len(codebook), width):
            entries = codebook[start : start + width]
            tile = room[: len(rows) * len(entries)].view(len(rows), len(entries))
            # ||z - e||^2 / 2 = ||z||^2 / 2 - z.e + ||e||^2 / 2. The first term is the same for all entries, so it
            # is left out.
            torch.addmm(half_norms[start : start + width], rows, entries.T, alpha=-1, out=tile)
            if costs is not None and part is not None:
                tile.addr_(part, costs[start : start + width])
            distances, indices = tile.min(dim=1)
            # Strictly smaller, so that the first of equal entries wins. A distance of NaN is never smaller, so the
            # code stays a valid index.
            torch.where(distances < smallest, indices + start, chosen, out=chosen)
            torch.minimum(distances, smallest, out=smallest)
    return codes


def sums_and_counts(latents: Float[Tensor, "n d"], codes: Int[Tensor, " n"], size: int) -> Float[Tensor, "k d+1"]:
    """Sums and counts the latents of each code.

    Args:
        latents: The latents.
        codes: The code of each latent, in [0, size).
        size: Entries k of the codebook.

    Returns:
        The sum of each code's latents, and their number in the last column. One tensor, so that processes exchange it
        in one message.
    """
    sums = latents.new_zeros(size, latents.shape[1]).index_add_(0, codes, latents)
    # Not `bincount`: on a GPU it makes the host wait for the largest code.
    counts = torch.zeros(size, dtype=torch.int64, device=codes.device).scatter_add_(0, codes, torch.ones_like(codes))
    return torch.cat([sums, counts[:, None].to(sums.dtype)], dim=1)


def mean_square_distance(latents: Float[Tensor, "n d"], quantized: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Computes the mean of (z - e)^2 over all elements, without a tensor of all differences."""
    height = max(1, _chunk_elements(latents.device) // latents.shape[1])
    parts = zip(latents.split(height), quantized.split(height), strict=True)
    return torch.stack([(z - e).square().sum() for z, e in parts]).sum() / latents.numel()


def _chunk_elements(device: torch.device) -> int:
    return _CHUNK_ELEMENTS if device.type == "cpu" else _ACCELERATOR_CHUNK_ELEMENTS
