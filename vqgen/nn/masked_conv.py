"""Masked convolution: a convolution that reads only what the causal order lets it read.

Legend: `b` batch, `c` channels, `h w` grid. A tap `(dr, dc)` of a kernel reads the position `dr` rows below and
`dc` columns to the right of its own.

Paper: PixelRNN and PixelCNN (van den Oord et al. 2016, arXiv 1601.06759), section 3.4; ours masks by order time.
"""

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.nn.tap_product import TapProduct, row_bands
from vqgen.order import CausalOrder


class MaskedConv2d(nn.Module):
    """Sums linear maps of the positions that the open taps read: out[r, c] = bias + sum_i W_i in[r + dr_i, c + dc_i].

    Only open taps have weights, so there is nothing to mask after an update, to decay or to store.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        order: Says which taps are open.
        kernel_size: Odd width of the kernel, at least 3 when strict.
        strict: True for the layer that reads the codes: it sees smaller times only. False for layers that read
            features, which already exclude the present.

    Attributes:
        weight: `(out_channels, in_channels, taps)`, one matrix per open tap.
        offsets: `(dr, dc)` of every open tap, in the order of `weight`.

    Raises:
        ValueError: No tap is open.

    Source: arXiv 1601.06759, section 3.4. Deviation: closed taps have no weights (there: weights multiplied by
    zeros), and the initial variance is 1 / fan-in of the *open* taps, so that masking does not shrink the signal.
    """

    taps: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, order: CausalOrder, kernel_size: int, *, strict: bool
    ) -> None:
        super().__init__()
        mask = order.kernel_mask(kernel_size, strict=strict)
        if not mask.any():
            raise ValueError(f"kernel_size should be at least 3 for a strict convolution, found {kernel_size}")
        half = kernel_size // 2
        top, bottom, left, right = _bounds(mask)
        # Rows and columns without an open tap are cropped: a third of the work at slope 2.
        self.kernel_shape = (bottom - top, right - left)
        self.padding = (half - left, right - 1 - half, half - top, bottom - 1 - half)
        self.offsets = [(int(row) - half, int(column) - half) for row, column in np.argwhere(mask)]
        taps = torch.from_numpy(mask[top:bottom, left:right].ravel().nonzero()[0])
        self.register_buffer("taps", taps, persistent=False)
        self.grid = (order.height, order.width)
        self.bands = row_bands(self.offsets, *self.grid)
        self.reversed_bands = row_bands([(-dr, -dc) for dr, dc in self.offsets], *self.grid)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, len(self.offsets)))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights of variance 1 / (in_channels x open taps), and zeroes the bias."""
        bound = math.sqrt(3 / (self.weight.shape[1] * self.weight.shape[2]))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def kernel(self) -> Float[Tensor, "out_channels in_channels height width"]:
        """The weights at their places in a dense kernel, zero at closed taps."""
        out_channels, in_channels, _ = self.weight.shape
        dense = self.weight.new_zeros(out_channels, in_channels, math.prod(self.kernel_shape))
        return dense.index_copy(2, self.taps, self.weight).unflatten(2, self.kernel_shape)

    def forward(self, features: Float[Tensor, "b in_channels h w"]) -> Float[Tensor, "b out_channels h w"]:
        """Convolves; what lies outside the grid reads as zero.

        Raises:
            ValueError: The grid is not the order's.
        """
        if features.shape[2:] != self.grid:
            raise ValueError(f"features should have the order's grid {self.grid}, found {tuple(features.shape[2:])}")
        return self._multiply(features) if features.device.type == "cpu" else self._convolve(features)

    def _convolve(self, features: Tensor) -> Tensor:
        """By the library's convolution with a dense kernel, the fastest on an accelerator."""
        return F.conv2d(F.pad(features, self.padding), self.kernel(), self.bias)

    def _multiply(self, features: Tensor) -> Tensor:
        """By matrix products over the open taps alone, the fastest on a CPU."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
        rows = rearrange(features, "b c h w -> b (h w) c").to(dtype)
        weight = rearrange(self.weight, "o c taps -> taps c o").to(dtype).contiguous()
        result = TapProduct.apply(rows, weight, self.bands, self.reversed_bands) + self.bias.to(dtype)
        return rearrange(result, "b (h w) c -> b c h w", h=features.shape[2])

    def extra_repr(self) -> str:
        """Sizes for `print(model)`."""
        out_channels, in_channels, taps = self.weight.shape
        return f"{in_channels}, {out_channels}, taps={taps}"


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and past-the-last row, first and past-the-last column that hold a true entry."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
