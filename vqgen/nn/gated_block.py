"""Gated blocks: the body of a PixelCNN.

Legend: `b` batch, `c` channels, `h w` grid, `o` channels out. Features are channels-last, `(b, h, w, c)`, so that a
layer that acts on each position alone applies to any subset of positions, `(b, n, c)`, too.

Paper: Conditional PixelCNN (van den Oord et al. 2016, arXiv 1606.05328), section 2.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.dropout import Dropout
from vqgen.nn.masked_conv import MaskedConv2d


def convolve(convolution: nn.Module, features: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w o"]:
    """Applies a convolution to channels-last features."""
    # Both rearrangements are views: nothing is copied, and channels-last is the faster layout on a CPU.
    return rearrange(convolution(rearrange(features, "b h w c -> b c h w")), "b c h w -> b h w c")


class GatedBlock(nn.Module):
    """A gated residual block: x + project(dropout(tanh(a) * sigmoid(b))).

        x --> norm --> masked convolution --+--> split into a, b --> gate --> dropout --> project --> + x
        label, condition --> linear maps ---+

    Args:
        convolution: Masked convolution from `c` to `2 c` channels.
        dropout: Share of the gated features that is dropped in training, in [0, 1).
        conditioned: True if the block is conditioned on the features of coarser codes.

    Source: arXiv 1606.05328, equation 4. Deviations: one stack in a causal order of our own instead of a vertical and a
    horizontal stack; a norm over the channels of each position (a batch norm would leak the future); the last
    projection starts at zero, so that a deep stack starts as the identity.
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
        """Applies the block to the whole grid.

        Args:
            features: The features of this level.
            label: The embedding of each image's label.
            condition: The features of the coarser codes, or None for a block that is not conditioned.
        """
        convolved = convolve(self.convolution, self.norm(features))
        conditioning = self.label(label)[:, None, None]  # the same at every position
        if self.condition is not None:
            conditioning = conditioning + self.condition(condition)
        values, gates = (convolved + conditioning).chunk(2, dim=-1)
        return features + self.project(self.dropout(torch.tanh(values) * torch.sigmoid(gates)))


class PointwiseBlock(nn.Module):
    """A residual perceptron of each position: x + W2 dropout(gelu(W1 norm(x))).

    Args:
        channels: Channels of the features.
        dropout: Share of the inner features that is dropped in training, in [0, 1).

    Source: the output stack of residual 1 x 1 convolutions of VQ-VAE-2, arXiv 1906.00446, appendix A. Deviation: a norm
    and four times as many inner channels, as in Transformers.
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
