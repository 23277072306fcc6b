"""Gated blocks of the cached sampler as two Triton kernels each, on a GPU.

Legend: `r` rows of a step, `c` channels, `near` near taps (see `step_tables`).
"""

from collections.abc import Container, Sequence
from functools import lru_cache
from itertools import pairwise
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.nn.gated_block import GatedBlock
from vqgen.sampling.cached_layers import FarTaps, Linear, Norm, tap_weights
from vqgen.sampling.step_tables import StepTables

_MOST_CHANNELS = 512
"""A program of the second kernel holds whole rows in its registers. More channels do not fit."""


def can_use_triton(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Returns True if the kernels can compute blocks of this device, dtype and width.

    It needs Triton and a GPU. NVIDIA's need a compute capability of 8.0 at least.
    """
    kernels = _kernels()
    if kernels is None or dtype not in (torch.float32, torch.bfloat16, torch.float16) or channels > _MOST_CHANNELS:
        return False
    if device.type != "cuda":
        return kernels.IS_INTERPRETED
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


@lru_cache
def _kernels() -> ModuleType | None:
    """Returns the module of the kernels, or None without Triton."""
    try:
        from vqgen.sampling import triton_kernels
    except ImportError:
        return None
    return triton_kernels


class TritonBlock:
    """A `CachedBlock` whose `add_to` is two kernels. Its results are the same, up to rounding.

    Args:
        block: The layer. Its weights should not change afterwards: they are copied.
        tables: The rows of its order.
        dtype: The dtype of weights and cache.
    """

    def __init__(self, block: GatedBlock, tables: StepTables, dtype: torch.dtype) -> None:
        kernels = _kernels()
        assert kernels is not None
        self._kernels = kernels
        weight = tap_weights(block.convolution, dtype)
        self.norm = Norm(block.norm, dtype)
        self.convolution = FarTaps(weight, tables, tables.open)
        self._near = weight[:, tables.open.near].flatten(1).contiguous()
        self._project = Linear(block.project, dtype)
        self._following: TritonBlock | None = None
        self._is_stored = False

    def lead_to(self, following: "TritonBlock") -> None:
        """Lets this block store the input of the next one, which reads the features as this one leaves them."""
        self._following = following
        following._is_stored = True

    def add_to(
        self,
        features: Float[Tensor, "r c"],
        write: Int[Tensor, " r"],
        near: Int[Tensor, " near_reads"],
        known: Float[Tensor, "r out"],
    ) -> Float[Tensor, "r c"]:
        """Adds the gated features to `features`, in place. See `CachedBlock.add_to`."""
        if not self._is_stored:
            self.convolution.features.index_copy_(0, write, self.norm(features))
        gated = self._kernels.gate(self.convolution.features, near, self._near, known)
        following = None if self._following is None else (self._following.norm, self._following.convolution.features)
        self._kernels.project(gated, self._project.weight, self._project.bias, features, write, following)
        return features


def triton_blocks(
    blocks: Sequence[GatedBlock], attended: Container[int], tables: StepTables, dtype: torch.dtype
) -> list[TritonBlock]:
    """Returns the blocks of a network.

    Args:
        blocks: Its gated blocks, in order.
        attended: Indices of the blocks that an attention follows. The next block reads its result.
        tables: The rows of the order.
        dtype: The dtype of weights and caches.
    """
    made = [TritonBlock(block, tables, dtype) for block in blocks]
    for index, (block, following) in enumerate(pairwise(made)):
        if index not in attended:
            block.lead_to(following)
    return made
