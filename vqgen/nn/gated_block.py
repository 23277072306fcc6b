"""Gated blocks: the body of a PixelCNN.

Legend: `b` batch, `c` channels, `h w` grid. Features are channels-last, `(b, h, w, c)`: whatever acts on each position
alone then acts on any subset of positions, `(b, n, c)`, unchanged, which is how a cache samples.

Paper: Conditional PixelCNN (van den Oord et al. 2016, arXiv 1606.05328), section 2.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.dropout import Dropout
from vqgen.nn.masked_conv import MaskedConv2d


def convolve(convolution: nn.Module, features: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
    """Applies a convolution to channels-last features; views only, and the layout that is fast on a CPU."""
    return rearrange(convolution(rearrange(features, "b h w c -> b c h w")), "b c h w -> b h w c")


class GatedBlock(nn.Module):
    """Adds what a gate lets through: x + project(dropout(tanh(a) * sigmoid(b))).

    `(a, b)` is the masked convolution of the normalised features, plus linear maps of the label's embedding and of the
    coarser codes' features.

    Args:
        convolution: Masked convolution from `c` to `2 c` channels.
        dropout: Share of the gated features that is dropped in training, in [0, 1).
        conditioned: Whether there are coarser codes.

    Source: arXiv 1606.05328, equation 4. Deviations: one stack in a causal order of our own instead of a vertical and a
    horizontal one; a norm over the channels of each position (a batch norm would leak the future); the last projection
    starts at zero, so that a deep stack starts as the identity.
    """

    def __init__(self, convolution: MaskedConv2d, dropout: float, *, conditioned: bool) -> None:
        super().__init__()
        inner, channels, _ = convolution.weight.shape
        self.norm = nn.LayerNorm(channels)
        self.convolution = convolution
        self.label = nn.Linear(channels, inner, bias=False)
        self.condition = nn.Linear(channels, inner, bias=False) if conditioned else None
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(
        self,
        features: Float[Tensor, "b h w c"],
        label: Float[Tensor, "b c"],
        condition: Float[Tensor, "b h w c"] | None,
    ) -> Float[Tensor, "b h w c"]:
        """Applies the block to the whole grid."""
        convolved = convolve(self.convolution, self.norm(features))
        return features + self.gate(convolved + self.context(label, condition))

    def context(
        self, label: Float[Tensor, "b c"], condition: Float[Tensor, "b h w c"] | None
    ) -> Float[Tensor, "b h_or_1 w_or_1 inner"]:
        """Maps what no code of this level changes; a sampler computes it once per image."""
        context = self.label(label)[:, None, None]
        return context if self.condition is None else context + self.condition(condition)

    def gate(self, inner: Float[Tensor, "*positions inner"]) -> Float[Tensor, "*positions c"]:
        """Gates and projects each position: project(dropout(tanh(a) * sigmoid(b)))."""
        values, gates = inner.chunk(2, dim=-1)
        return self.project(self.dropout(torch.tanh(values) * torch.sigmoid(gates)))


class PointwiseBlock(nn.Module):
    """Adds a perceptron of each position: x + W2 dropout(gelu(W1 norm(x))).

    Args:
        channels: Channels of the features.
        dropout: Share of the inner features that is dropped in training, in [0, 1).

    Source: the output stack of residual 1 x 1 convolutions of VQ-VAE-2, arXiv 1906.00446, appendix A. Deviation: normed
    and four times as wide inside, as in Transformers.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 4 * channels)
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(4 * channels, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, features: Float[Tensor, "*positions c"]) -> Float[Tensor, "*positions c"]:
        """Applies the block to each position alone."""
        return features + self.project(self.dropout(F.gelu(self.expand(self.norm(features)))))
