"""Small quantizers for the tests, and the steps that train them."""

from typing import Any

import torch
from torch import Tensor

from vqgen.nn.quantizers.base import Quantized
from vqgen.nn.quantizers.ema import EmaQuantizer


def make_quantizer(size: int = 6, dim: int = 3, **settings: Any) -> EmaQuantizer:
    """A quantizer in float64. By default it starts at random and never restarts a code."""
    settings = {"data_init": False, "restart_after": 0} | settings
    return EmaQuantizer(size, dim, **settings).double()


def make_latents(b: int = 2, dim: int = 3, side: int = 4, scale: float = 1.0) -> Tensor:
    """Normal latents `(b, d, h, w)` in float64."""
    return torch.randn(b, dim, side, side, dtype=torch.float64) * scale


def latents_at(codebook: Tensor, codes: list[int], noise: float = 0.0) -> Tensor:
    """Latents `(1, d, 1, n)` at these entries, or near them."""
    picked = codebook[torch.tensor(codes)]
    return (picked + noise * torch.randn_like(picked)).T[None, :, None]


def rows(grid: Tensor) -> Tensor:
    """The vectors of a grid `(b, d, h, w)`, `(n, d)`."""
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])


def step(quantizer: EmaQuantizer, *micro_batches: Tensor) -> list[Quantized]:
    """Takes one training step over all micro-batches."""
    outputs = [quantizer(micro_batch) for micro_batch in micro_batches]
    quantizer.update()
    return outputs


def copied_state(quantizer: EmaQuantizer) -> dict[str, Tensor]:
    """Copies the state, which later steps then leave alone."""
    return {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not the same bit for bit."""
    return [name for name in before if not torch.equal(before[name], after[name])]
