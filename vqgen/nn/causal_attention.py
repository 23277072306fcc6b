"""Causal attention over the features of a grid.

Legend: `b` batch, `c` channels, `h w` grid, `n` flattened positions (row-major), `heads` heads, `d` channels of a head.

Paper: PixelSNAIL (Chen et al. 2017, arXiv 1712.09763), section 2.2; attention in the priors of VQ-VAE-2,
arXiv 1906.00446, section 3.2.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.order import CausalOrder

# The fused kernel's backward pass in bfloat16 on a CPU takes eight times as long as plain products, on grids to 8 x 8.
_FEW_POSITIONS = 128


class CausalAttention(nn.Module):
    """Averages the values of features of no later time, weighted by softmax(q k / sqrt(d)).

    The residual is the caller's: features + attention(features). Features of the same time are seen: they hold codes
    of earlier times only. So every position sees at least itself, and no softmax is over nothing.

    Args:
        channels: Channels of the features.
        heads: Heads; they divide `channels`.
        order: Says which features a feature may see.

    Raises:
        ValueError: The heads do not divide the channels.

    Source: arXiv 1712.09763, section 2.2. Deviations: several heads and a norm before the projections, as in
    Transformers; keys and values are made of the features alone, which hold the position already.
    """

    mask: Tensor

    def __init__(self, channels: int, heads: int, order: CausalOrder) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"heads should divide channels = {channels}, found {heads}")
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.register_buffer("mask", torch.from_numpy(order.attention_mask()), persistent=False)

    def split(self, features: Float[Tensor, "b n c"]) -> tuple[Tensor, Tensor, Tensor]:
        """Normalises and projects each position to its query, key and value, each `(b, heads, n, d)`."""
        projected = self.queries_keys_values(self.norm(features))
        queries, keys, values = rearrange(
            projected, "b n (three heads d) -> three b heads n d", three=3, heads=self.heads
        )
        return queries, keys, values

    def merge(self, attended: Float[Tensor, "b heads n d"]) -> Float[Tensor, "b n c"]:
        """Joins the heads of each position and projects them."""
        return self.project(rearrange(attended, "b heads n d -> b n (heads d)"))

    def forward(self, features: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Attends among all positions of the grid, without the residual."""
        queries, keys, values = self.split(features.flatten(1, 2))
        slow = queries.requires_grad and queries.device.type == "cpu" and queries.dtype == torch.bfloat16
        if slow and queries.shape[-2] <= _FEW_POSITIONS:
            attended = _attend_by_products(queries, keys, values, self.mask)
        else:
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=self.mask)
        return self.merge(attended).view_as(features)


def _attend_by_products(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    scores = queries @ keys.mT * queries.shape[-1] ** -0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ values
