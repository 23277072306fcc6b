"""The compiled functions of `fixed_point.c`: the same bits as torch, for the few rows of a step on a CPU.

Legend: `n` rows, `c` channels, `k` codebook entries, `panels` parts of the outputs, `lanes` outputs of a panel.
"""

import ctypes
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vqgen.runtime.c_library import load_library

_POINTER = ctypes.c_void_p
_COUNT = ctypes.c_int64

_MOST_ROWS = 1 << 12
"""Rows of a step at most. For more, as those of a whole coarser grid, torch is as fast."""

_FEWEST_PRODUCTS = 1 << 24
"""Products from which several threads pay."""


def can_compute(features: Float64[Tensor, "*n c"]) -> bool:
    """Returns True if the functions pay for these rows, and this machine can compile them."""
    if not features.is_cpu or features.numel() > _MOST_ROWS * features.shape[-1]:
        return False
    return not torch.is_grad_enabled() and library() is not None


def panels_of(matrix: Float64[Tensor, "c out"]) -> Float64[Tensor, "panels c lanes"] | None:
    """Arranges a matrix for `linear`; None on a machine without the functions."""
    found = library()
    if found is None or matrix.device.type != "cpu":
        return None
    lanes = found.panel_width()
    padded = F.pad(matrix, (0, -matrix.shape[1] % lanes))
    return rearrange(padded, "c (panels lanes) -> panels c lanes", lanes=lanes).contiguous()


def linear(
    features: Float64[Tensor, "*n c"],
    panels: Float64[Tensor, "panels c lanes"],
    outputs: int,
    bias: Float64[Tensor, " out"] | None,
) -> Float64[Tensor, "*n out"]:
    """Maps each row: see `FixedLinear`."""
    features = features.contiguous()
    result = features.new_empty(*features.shape[:-1], outputs)
    rows, inputs = result.numel() // outputs, features.shape[-1]
    threads = torch.get_num_threads() if rows * inputs * outputs >= _FEWEST_PRODUCTS else 1
    address = None if bias is None else bias.data_ptr()
    _functions().fixed_linear(
        rows, inputs, outputs, features.data_ptr(), panels.data_ptr(), address, result.data_ptr(), threads
    )
    return result


def norm(
    features: Float64[Tensor, "*n c"], weight: Float64[Tensor, " c"], bias: Float64[Tensor, " c"], epsilon: float
) -> Float64[Tensor, "*n c"]:
    """Normalises each row: see `FixedNorm`."""
    features = features.contiguous()
    result = torch.empty_like(features)
    channels = features.shape[-1]
    _functions().fixed_norm(
        features.numel() // channels, channels, features.data_ptr(), weight.data_ptr(), bias.data_ptr(), epsilon,
        result.data_ptr(),
    )  # fmt: skip
    return result


def lookup(values: Float64[Tensor, "..."], table: Float64[Tensor, " steps"]) -> Float64[Tensor, "..."]:
    """Looks up each value: see `FixedFunction`."""
    values = values.contiguous()
    result = torch.empty_like(values)
    _functions().fixed_lookup(values.numel(), values.data_ptr(), table.data_ptr(), result.data_ptr())
    return result


def gate(
    features: Float64[Tensor, "*n two_c"], tanh: Float64[Tensor, " steps"], sigmoid: Float64[Tensor, " steps"]
) -> Float64[Tensor, "*n c"]:
    """Gates each row: see `fixed_gate`."""
    features = features.contiguous()
    channels = features.shape[-1] // 2
    result = features.new_empty(*features.shape[:-1], channels)
    _functions().fixed_gate(
        result.numel() // channels, channels, features.data_ptr(), tanh.data_ptr(), sigmoid.data_ptr(),
        result.data_ptr(),
    )  # fmt: skip
    return result


def frequencies(
    logits: Float64[Tensor, "*n k"], weights: NDArray[np.int64], total: int, steps_per_nat: int, largest: int
) -> NDArray[np.int64]:
    """Computes integer frequencies: see `frequencies_of_logits`, which has the arguments as constants."""
    logits = logits.contiguous()
    result = np.empty(logits.shape, dtype=np.int64)
    codes = logits.shape[-1]
    _functions().code_frequencies(
        logits.numel() // codes, codes, total, float(steps_per_nat), float(largest), logits.data_ptr(),
        weights.ctypes.data, len(weights) - 1, result.ctypes.data,
    )  # fmt: skip
    return result


def _functions() -> ctypes.CDLL:
    found = library()
    assert found is not None
    return found


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Loads the compiled functions and declares their arguments; None if they cannot be compiled here."""
    found = load_library(Path(__file__).with_name("fixed_point.c"))
    if found is not None:
        found.panel_width.restype = _COUNT
        arguments = {
            "fixed_linear": (*[_COUNT] * 3, *[_POINTER] * 4, ctypes.c_int32),
            "fixed_norm": (*[_COUNT] * 2, *[_POINTER] * 3, ctypes.c_double, _POINTER),
            "fixed_lookup": (_COUNT, *[_POINTER] * 3),
            "fixed_gate": (*[_COUNT] * 2, *[_POINTER] * 4),
            "code_frequencies": (*[_COUNT] * 3, *[ctypes.c_double] * 2, *[_POINTER] * 2, _COUNT, _POINTER),
        }
        for name, types in arguments.items():
            function = getattr(found, name)
            function.restype = None
            function.argtypes = types
    return found
