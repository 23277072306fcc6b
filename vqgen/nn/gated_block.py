"""Gated blocks: the body of a PixelCNN.

Legend: `b` batch, `c` channels, `h w` grid, `o` channels out. The channels come last, so that a layer that acts on each
position alone applies to any subset of positions, `(b, n, c)`, too. The axes before them are those of
`vqgen.nn.axes`.

Paper: Conditional PixelCNN (van den Oord et al. 2016, arXiv 1606.05328), section 2.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.axes import BATCH_FIRST, Axes, at_every_position
from vqgen.nn.dropout import Dropout
from vqgen.nn.fused_block import BlockWeights, FusedBlock, can_fuse
from vqgen.nn.masked_conv import MaskedConv2d


def convolve(convolution: nn.Module, features: Float[Tensor, "..."], axes: Axes = BATCH_FIRST) -> Float[Tensor, "..."]:
    """Applies a convolution to channels-last features with these axes."""
    # Both rearrangements are views: nothing is copied.
    result = convolution(rearrange(features, f"{axes} -> b c h w"))
    return rearrange(result, f"b c h w -> {axes}")


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
        features: Float[Tensor, "..."],
        label: Float[Tensor, "b c"],
        condition: Float[Tensor, "..."] | None,
        axes: Axes = BATCH_FIRST,
    ) -> Float[Tensor, "..."]:
        """Applies the block to the whole grid.

        Args:
            features: The features of this level, with these axes.
            label: The embedding of each image's label.
            condition: The features of the coarser codes, with these axes; None for a block that is not conditioned.
            axes: The axes of the features.
        """
        if can_fuse(features, axes):
            return self._fused(features, label, condition)
        convolved = convolve(self.convolution, self.norm(features), axes)
        conditioning = at_every_position(self.label(label), axes)
        if self.condition is not None:
            conditioning = conditioning + self.condition(condition)
        values, gates = (convolved + conditioning).chunk(2, dim=-1)
        return features + self.project(self.dropout(torch.tanh(values) * torch.sigmoid(gates)))

    def _fused(self, features: Tensor, label: Tensor, condition: Tensor | None) -> Tensor:
        """Applies the block as one function with a backward pass of its own, which passes over memory less often."""
        weights = BlockWeights(
            self.norm.weight,
            self.norm.bias,
            self.convolution.product_weight(),
            None if self.condition is None else self.condition.weight,
            self.project.weight,
            self.project.bias,
        )
        shift = self.label(label) + self.convolution.bias
        bands = self.convolution.bands
        return FusedBlock.apply(features, shift, condition, self.dropout.draw(features), bands, self.norm.eps, *weights)  # type: ignore[return-value]


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
