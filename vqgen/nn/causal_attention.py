"""Causal attention over the features of a grid.

Legend: `b` batch, `c` channels, `h w` grid, `n` flattened positions (row-major), `d` channels of a head.

Paper: PixelSNAIL (Chen et al. 2017, arXiv 1712.09763), section 2.2; attention in the priors of VQ-VAE-2,
arXiv 1906.00446, section 3.2.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.axes import BATCH_FIRST, Axes
from vqgen.order import CausalOrder

_FEW_POSITIONS = 128
"""Positions up to which plain products train in bfloat16 on a CPU.

There the backward pass of the fused kernel takes eight times as long, on grids up to 8 x 8.
"""


class CausalAttention(nn.Module):
    """Multi-head attention in which a feature sees the features of no later time: softmax(q k / sqrt(d)) v.

    The caller adds the residual: features + attention(features). Features of the same time are visible, because they
    contain codes of earlier times only. So every position sees at least itself, and no softmax is empty.

    Args:
        channels: Channels of the features.
        heads: Number of heads, a divisor of `channels`.
        order: Defines the features that a feature may see.

    Raises:
        ValueError: The heads do not divide the channels.

    Source: arXiv 1712.09763, section 2.2. Deviations: several heads and a norm before the projections, as in
    Transformers; keys and values come from the features alone, which contain the position already.
    """

    mask: Tensor

    def __init__(self, channels: int, heads: int, order: CausalOrder) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads should divide channels = {channels}, found {heads}")
        self.heads = heads
        self.height = order.height
        self.norm = nn.LayerNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        # With the caller's residual, a new attention is the identity.
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.register_buffer("mask", torch.from_numpy(order.attention_mask()), persistent=False)

    def forward(self, features: Float[Tensor, "..."], axes: Axes = BATCH_FIRST) -> Float[Tensor, "..."]:
        """Attends among all positions of the grid, without the residual.

        Args:
            features: The features, with these axes.
            axes: The axes of the features.
        """
        positions = axes.removesuffix("c")
        queries, keys, values = rearrange(
            self.queries_keys_values(self.norm(features)),
            f"{positions} (three heads d) -> three b heads (h w) d",
            three=3,
            heads=self.heads,
        )
        attended = attend(queries, keys, values, self.mask)
        return self.project(rearrange(attended, f"b heads (h w) d -> {positions} (heads d)", h=self.height))


def attend(
    queries: Float[Tensor, "*heads n d"],
    keys: Float[Tensor, "*heads n d"],
    values: Float[Tensor, "*heads n d"],
    mask: Bool[Tensor, "n n"] | None = None,
) -> Float[Tensor, "*heads n d"]:
    """Computes softmax(q k / sqrt(d)) v.

    Args:
        queries: One for each position.
        keys: The same.
        values: The same.
        mask: True where the position of the row sees the position of the column. Without a mask each sees all.
    """
    is_slow_fused = queries.requires_grad and queries.device.type == "cpu" and queries.dtype == torch.bfloat16
    if is_slow_fused and queries.shape[-2] <= _FEW_POSITIONS:
        return _attend_by_products(queries, keys, values, mask)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def _attend_by_products(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attends by plain matrix products, each `(b, heads, n, d)`."""
    scores = queries @ keys.mT * queries.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1) @ values
