"""Attention over the features of a grid, in squares.

Legend: `b` batch, `c` channels, `h w` grid, `d` channels of a head.

Paper: attention at the lowest resolution of the encoder and the decoder, VQGAN (Esser et al. 2021, arXiv 2012.09841),
section 4. Deviation: the squares.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vqgen.nn.causal_attention import attend
from vqgen.nn.channel_norm import ChannelNorm


class GridAttention(nn.Module):
    """Multi-head attention among all positions of a square of the grid: x + project(softmax(q k / sqrt(d)) v).

        +----+----+--+
        |    |    |  |     A training image is one square. A larger picture has several of them, cut from its top left;
        +----+----+--+     at its edges they are narrower. So a feature meets as many others as in the training, the
        |    |    |  |     time grows with the picture and not with its square, and a part of a picture that begins with
        +----+----+--+     a square has the features of the whole.

    Args:
        channels: Channels of the features.
        heads: Number of heads, a divisor of `channels`.
        side: Side of a square, in positions.
    """

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.side = side
        self.norm = ChannelNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Attends within each square."""
        # In the layout "channels last" the axes move without a copy.
        projected = self.queries_keys_values(rearrange(self.norm(features), "b c h w -> b h w c"))
        height, width = features.shape[2:]
        strips = [
            _joined([self._attend(projected[:, rows, columns]) for columns in _spans(width, self.side)], dim=2)
            for rows in _spans(height, self.side)
        ]
        return features + rearrange(self.project(_joined(strips, dim=1)), "b h w c -> b c h w")

    def _attend(self, projected: Float[Tensor, "b h w c3"]) -> Float[Tensor, "b h w c"]:
        """Attends in a part of the grid that is cut into squares of one size."""
        rows = min(self.side, projected.shape[1])
        columns = min(self.side, projected.shape[2])
        queries, keys, values = rearrange(
            projected,
            "b (y rows) (x columns) (three heads d) -> three (b y x) heads (rows columns) d",
            rows=rows,
            columns=columns,
            three=3,
            heads=self.heads,
        )
        return rearrange(
            attend(queries, keys, values),
            "(b y x) heads (rows columns) d -> b (y rows) (x columns) (heads d)",
            b=projected.shape[0],
            y=projected.shape[1] // rows,
            rows=rows,
        )


def _spans(length: int, side: int) -> Iterator[slice]:
    """Cuts a side of the grid into the part of whole squares and the rest, if there are both."""
    whole = length - length % side
    yield from (slice(*span) for span in ((0, whole), (whole, length)) if span[0] < span[1])


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)
