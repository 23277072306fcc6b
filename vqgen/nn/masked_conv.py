"""Masked convolution: a convolution that reads no position of a later time in the causal order.

Legend: `b` batch, `c` channels in, `o` channels out, `h w` grid, `n` flattened positions (row-major), `taps` open taps.
A tap `(dr, dc)` of a kernel reads the position `dr` rows below and `dc` columns to the right of its own.

Paper: PixelRNN and PixelCNN (van den Oord et al. 2016, arXiv 1601.06759), section 3.4. Ours masks by order time.
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
    """A convolution over the open taps of a kernel: out[r, c] = bias + sum_i W_i in[r + dr_i, c + dc_i].

    Only open taps have weights, so there is nothing to mask after an update and no closed tap to decay or store.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        order: Defines the open taps and the grid.
        kernel_size: Odd width of the kernel, at least 3 if strict.
        strict: True for the layer that reads the codes and sees smaller times only. False for layers that read
            features, which already exclude the present.

    Attributes:
        weight: `(out_channels, in_channels, taps)`, one matrix per open tap.
        offsets: `(dr, dc)` of every open tap, in the order of `weight`.

    Raises:
        ValueError: The kernel has no centre or no open tap.

    Source: arXiv 1601.06759, section 3.4. Deviation: closed taps have no weights (in the paper, their weights are
    multiplied by zero), and the initial variance is 1 / fan-in of the *open* taps, so that masking does not shrink the
    signal.
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
        # The dense kernel is cropped to the rows and columns that have an open tap: a third of the work at slope 2.
        self.kernel_shape = (bottom - top, right - left)
        # Left, right, above, below. The cropped kernel is not symmetric around the tap (0, 0), and neither is this.
        self.padding = (half - left, right - 1 - half, half - top, bottom - 1 - half)
        self.offsets = [(int(row) - half, int(column) - half) for row, column in np.argwhere(mask)]
        # Flat places of the open taps in the cropped kernel, row-major like the offsets.
        taps = torch.from_numpy(mask[top:bottom, left:right].ravel().nonzero()[0])
        self.register_buffer("taps", taps, persistent=False)
        self.grid = (order.height, order.width)
        self.bands = row_bands(self.offsets, *self.grid)
        # In memory the taps come first, as the products of a CPU read them, so that no step has to copy the weights.
        laid_out = torch.empty(len(self.offsets), in_channels, out_channels)
        self.weight = nn.Parameter(rearrange(laid_out, "taps c o -> o c taps"))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights of variance 1 / (in_channels x open taps), and sets the bias to zero."""
        # The variance of a uniform draw in [-a, a] is a^2 / 3.
        bound = math.sqrt(3 / (self.weight.shape[1] * self.weight.shape[2]))
        # Drawn in the order of the axes: a draw in place would follow the order in memory.
        drawn = torch.empty(self.weight.shape, dtype=self.weight.dtype, device=self.weight.device)
        with torch.no_grad():
            self.weight.copy_(nn.init.uniform_(drawn, -bound, bound))
        nn.init.zeros_(self.bias)

    def kernel(self) -> Float[Tensor, "o c height width"]:
        """Builds the dense kernel, cropped to `kernel_shape`, with zeros at closed taps."""
        out_channels, in_channels, _ = self.weight.shape
        dense = self.weight.new_zeros(out_channels, in_channels, math.prod(self.kernel_shape))
        return dense.index_copy(2, self.taps, self.weight).unflatten(2, self.kernel_shape)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        """Convolves. Positions outside the grid read as zero.

        Raises:
            ValueError: The features have another grid than the order.
        """
        if features.shape[2:] != self.grid:
            raise ValueError(f"features should have the order's grid {self.grid}, found {tuple(features.shape[2:])}")
        return self._multiply(features) if features.device.type == "cpu" else self._convolve(features)

    def _convolve(self, features: Tensor) -> Tensor:
        """Convolves with a dense kernel, by torch's own convolution: the fastest way on an accelerator."""
        return F.conv2d(F.pad(features, self.padding), self.kernel(), self.bias)

    def _multiply(self, features: Tensor) -> Tensor:
        """Convolves by matrix products over the open taps alone: the fastest way on a CPU."""
        # Under autocast a library's convolution computes in the autocast dtype, and so does this one.
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype
        rows = rearrange(features, "b c h w -> h w b c").to(dtype)
        result = TapProduct.apply(rows, self.product_weight().to(dtype), self.bands) + self.bias.to(dtype)
        return rearrange(result, "h w b o -> b o h w")

    def product_weight(self) -> Float[Tensor, "taps c o"]:
        """Returns the weights as the products of a CPU read them, without a copy."""
        return rearrange(self.weight, "o c taps -> taps c o")

    def extra_repr(self) -> str:
        """Returns the sizes that `print(model)` shows."""
        out_channels, in_channels, taps = self.weight.shape
        return f"{in_channels}, {out_channels}, taps={taps}"


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Finds the rows and the columns with a true entry: first and one past the last of each."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
