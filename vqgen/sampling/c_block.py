"""A gated block of the cached sampler as one call of a compiled C function, for CPUs.

Legend: `r` rows of a step, `c` channels, `near` near taps (see `step_tables`), `lanes` numbers that the processor
computes at once.
"""

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.gated_block import GatedBlock
from vqgen.runtime.c_library import load_library
from vqgen.sampling.cached_layers import FarTaps, tap_weights
from vqgen.sampling.step_tables import StepTables

_FEWEST_WEIGHTS = 2**17
"""Weights of a convolution from which the function is used. A smaller model is done before the compiler would be."""

_POINTER = ctypes.c_void_p


class _Fields(ctypes.Structure):
    """The sizes and weights of a block, as the C function reads them."""

    _fields_ = (
        ("channels", ctypes.c_int64),
        ("taps", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("norm_weight", _POINTER),
        ("norm_bias", _POINTER),
        ("convolution", _POINTER),
        ("project", _POINTER),
        ("project_bias", _POINTER),
        ("cache", _POINTER),
    )


class CBlock:
    """A `CachedBlock` whose `add_to` is one compiled function. Its results are the same, up to rounding.

    Args:
        block: The layer, in float32 on a CPU. Its weights should not change afterwards: they may be copied.
        tables: The rows of the order.
    """

    def __init__(self, block: GatedBlock, tables: StepTables) -> None:
        library = _library()
        assert library is not None
        weight = tap_weights(block.convolution, torch.float32)
        self.convolution = FarTaps(weight, tables, tables.open)
        lanes = library.lanes()
        # The lanes of the values, then the lanes of their gates: see gated_block.c.
        panels = rearrange(weight, "(half panel lane) tap c -> panel tap c half lane", half=2, lane=lanes)
        if tables.open.far:
            panels = panels[:, tables.open.near]
        project = rearrange(block.project.weight, "(panel width) c -> panel c width", width=2 * lanes)
        # The C function reads their memory: they live as long as this object.
        self._tensors = [
            tensor.detach().contiguous()
            for tensor in (block.norm.weight, block.norm.bias, panels, project, block.project.bias)
        ]
        addresses = (tensor.data_ptr() for tensor in (*self._tensors, self.convolution.features))
        self._fields = _Fields(block.project.in_features, len(tables.open.near), block.norm.eps, *addresses)
        self._address = ctypes.addressof(self._fields)
        self._function = library.gated_block

    def add_to(
        self,
        features: Float[Tensor, "r c"],
        write: Int[Tensor, " r"],
        near: Int[Tensor, " near_reads"],
        known: Float[Tensor, "r out"],
    ) -> Float[Tensor, "r c"]:
        """Adds the gated features to `features`, in place. See `CachedBlock.add_to`."""
        self._function(
            self._address,
            len(features),
            features.data_ptr(),
            write.data_ptr(),
            near.data_ptr(),
            known.data_ptr(),
            torch.get_num_threads(),
        )
        return features


def can_use_c(prior: PixelCNN, tables: StepTables, dtype: torch.dtype) -> bool:
    """Returns True if the function pays for the blocks of a prior, and this machine can compile it.

    Args:
        prior: The model.
        tables: The rows of its order.
        dtype: The dtype of the weights and of the cache.
    """
    weight = prior.embedding.weight
    channels = prior.config.channels
    is_large = 2 * channels * channels * len(tables.open.near) >= _FEWEST_WEIGHTS
    if not is_large or weight.device.type != "cpu" or not weight.dtype == dtype == torch.float32:
        return False
    library = _library()
    return library is not None and channels % (2 * library.lanes()) == 0


def has_c_functions() -> bool:
    """Returns True if the functions are compiled, or could be now."""
    return _library() is not None


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """Loads the compiled functions and declares their arguments."""
    library = load_library(Path(__file__).with_name("gated_block.c"))
    if library is not None:
        library.lanes.restype = ctypes.c_int64
        library.gated_block.restype = None
        library.gated_block.argtypes = (_POINTER, ctypes.c_int64, *[_POINTER] * 4, ctypes.c_int32)
    return library
