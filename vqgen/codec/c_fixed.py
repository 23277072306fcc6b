"""The compiled layers of `fixed_point.c`: the same bits as torch, for the few rows of a step on a CPU.

`c_steps` runs all layers of a step in one call, from `fixed_prior.c`, which includes that file.

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

POINTER = ctypes.c_void_p

COUNT = ctypes.c_int64


class LinearMap(ctypes.Structure):
    """A linear map; see `panels_of`."""

    _fields_ = [("panels", POINTER), ("bias", POINTER), ("inputs", COUNT), ("outputs", COUNT)]


class Norm(ctypes.Structure):
    """A norm over the channels."""

    _fields_ = [("weight", POINTER), ("bias", POINTER), ("epsilon", ctypes.c_double)]


class Rounding(ctypes.Structure):
    """The rule by which logits become integers; see `frequencies_of_logits`."""

    _fields_ = [
        ("total", COUNT), ("last", COUNT), ("steps_per_nat", ctypes.c_double), ("largest", ctypes.c_double),
        ("weights", POINTER),
    ]  # fmt: skip

    @classmethod
    def of(cls, weights: NDArray[np.int64], total: int, steps_per_nat: int, largest: int) -> "Rounding":
        """Takes the constants of `frequencies_of_logits`; the weights should stay in memory."""
        return cls(total, len(weights) - 1, steps_per_nat, largest, weights.ctypes.data)


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
    found = linear_map(panels, outputs, bias)
    functions().fixed_linear(ctypes.byref(found), rows, features.data_ptr(), result.data_ptr(), threads)
    return result


def norm(
    features: Float64[Tensor, "*n c"], weight: Float64[Tensor, " c"], bias: Float64[Tensor, " c"], epsilon: float
) -> Float64[Tensor, "*n c"]:
    """Normalises each row: see `FixedNorm`."""
    features = features.contiguous()
    result = torch.empty_like(features)
    layer = Norm(weight.data_ptr(), bias.data_ptr(), epsilon)
    channels = features.shape[-1]
    rows = features.numel() // channels
    functions().fixed_norm(ctypes.byref(layer), rows, channels, features.data_ptr(), result.data_ptr())
    return result


def lookup(values: Float64[Tensor, "..."], table: Float64[Tensor, " steps"]) -> Float64[Tensor, "..."]:
    """Looks up each value: see `FixedFunction`."""
    values = values.contiguous()
    result = torch.empty_like(values)
    functions().fixed_lookup(values.numel(), values.data_ptr(), table.data_ptr(), result.data_ptr())
    return result


def gate(
    features: Float64[Tensor, "*n two_c"], tanh: Float64[Tensor, " steps"], sigmoid: Float64[Tensor, " steps"]
) -> Float64[Tensor, "*n c"]:
    """Gates each row: see `fixed_gate`."""
    features = features.contiguous()
    channels = features.shape[-1] // 2
    result = features.new_empty(*features.shape[:-1], channels)
    functions().fixed_gate(
        result.numel() // channels, channels, features.data_ptr(), tanh.data_ptr(), sigmoid.data_ptr(),
        result.data_ptr(),
    )  # fmt: skip
    return result


def frequencies(logits: Float64[Tensor, "*n k"], rule: Rounding) -> NDArray[np.int64]:
    """Computes integer frequencies: see `frequencies_of_logits`."""
    logits = logits.contiguous()
    result = np.empty(logits.shape, dtype=np.int64)
    codes = logits.shape[-1]
    functions().code_frequencies(
        ctypes.byref(rule), logits.numel() // codes, codes, logits.data_ptr(), result.ctypes.data
    )
    return result


def linear_map(
    panels: Float64[Tensor, "panels c lanes"], outputs: int, bias: Float64[Tensor, " out"] | None
) -> LinearMap:
    """Describes a linear map to the functions; its tensors should stay in memory."""
    return LinearMap(panels.data_ptr(), None if bias is None else bias.data_ptr(), panels.shape[1], outputs)


def functions() -> ctypes.CDLL:
    """Returns the functions, on a machine that has them."""
    found = library()
    assert found is not None
    return found


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Loads the compiled functions and declares their arguments; None if they cannot be compiled here."""
    folder = Path(__file__).parent
    found = load_library(folder / "fixed_prior.c", folder / "fixed_point.c")
    if found is not None:
        found.panel_width.restype = COUNT
        found.fixed_step.restype = ctypes.c_int32
        found.fixed_step.argtypes = (POINTER, *[COUNT] * 3, POINTER)
        arguments = {
            "fixed_linear": (POINTER, COUNT, *[POINTER] * 2, ctypes.c_int32),
            "fixed_norm": (POINTER, *[COUNT] * 2, *[POINTER] * 2),
            "fixed_lookup": (COUNT, *[POINTER] * 3),
            "fixed_gate": (*[COUNT] * 2, *[POINTER] * 4),
            "code_frequencies": (POINTER, *[COUNT] * 2, *[POINTER] * 2),
            "fixed_append": (POINTER, *[COUNT] * 3, POINTER),
        }
        for name, types in arguments.items():
            function = getattr(found, name)
            function.restype = None
            function.argtypes = types
    return found
