"""Two Triton kernels for a gated block at the positions of one step: gather, product and gate; project, add and norm.

    cached features --rows--> taps --> products, + known --> tanh * sigmoid --> gated      (gate)
    gated --> product, + bias --> + features --> norm --> cache of the next block          (project)

Without them a block is about ten kernels, each of which reads and writes memory and starts anew. Sums are in float32,
whatever the dtype of the weights, and each kernel rounds its results once. This module needs Triton, which comes with
torch's builds for GPUs.

Legend: `r` rows of a step, `c` channels, `taps` near taps (see `step_tables`), `k` channels in of a product.

Source: the gate is equation 4 of van den Oord et al. 2016, arXiv 1606.05328. The layout of the kernels, a tile of the
result for each program and a loop over tiles of the sum, is that of the matrix product in Triton's tutorials (Tillet et
al. 2019, "Triton: an intermediate language and compiler for tiled neural network computations").
"""

# Triton is not on every machine, and `num_warps` and `num_stages` are arguments of its compiler.
# pyright: reportMissingImports=false, reportCallIssue=false

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from vqgen.sampling.cached_layers import Norm

_LEAST_TILE = 16
"""The smallest side of a tile that tensor cores multiply."""

_MOST_ROWS = 64
"""Rows of the largest tile. More would not fit in the registers, beside two sums for each row and channel."""

_TILE_BYTES = 2**14
"""Bytes of the largest tile of weights. Two or three of them, and the rows, fit in the shared memory of every GPU."""


# A checker of annotations would wrap the functions and hide their source from the compiler: hence `no_type_check`.
# The number of rows differs from step to step, and so does the alignment of the tables. They should not be compiled
# again for each.
@triton.jit(do_not_specialize=["num_rows"], do_not_specialize_on_alignment=["rows"])
@no_type_check
def _gate(
    cache, rows, weight, known, gated, num_rows, known_stride,
    C: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr,
    TILE_R: tl.constexpr, TILE_C: tl.constexpr, TILE_K: tl.constexpr,
):  # fmt: skip
    """Computes a tile of rows and channels of the gated features. See `gate`."""
    row = tl.program_id(0) * TILE_R + tl.arange(0, TILE_R)
    channel = tl.program_id(1) * TILE_C + tl.arange(0, TILE_C)
    is_row = row < num_rows
    is_channel = channel < C
    is_result = is_row[:, None] & is_channel[None, :]
    # In int64: rows times channels of a large batch do not fit in int32.
    row_of_known = known + row.to(tl.int64)[:, None] * known_stride + channel[None, :]
    values = tl.load(row_of_known, is_result, 0.0).to(tl.float32)
    gates = tl.load(row_of_known + C, is_result, 0.0).to(tl.float32)
    tiles_of_k: tl.constexpr = (C + TILE_K - 1) // TILE_K
    # One loop over taps and channels: the compiler loads the next tiles while it multiplies these.
    for tile in range(TAPS * tiles_of_k):
        tap = tile // tiles_of_k
        k = tile % tiles_of_k * TILE_K + tl.arange(0, TILE_K)
        is_k = k < C
        source = tl.load(rows + row * TAPS + tap, is_row, 0).to(tl.int64)
        features = tl.load(cache + source[:, None] * C + k[None, :], is_row[:, None] & is_k[None, :], 0.0)
        # (k, channels): the weights lie as (2c, taps, c), values before gates.
        weights = weight + channel[None, :] * (TAPS * C) + tap * C + k[:, None]
        is_weight = is_k[:, None] & is_channel[None, :]
        values = tl.dot(features, tl.load(weights, is_weight, 0.0), values, input_precision=PRECISION)
        gates = tl.dot(features, tl.load(weights + C * TAPS * C, is_weight, 0.0), gates, input_precision=PRECISION)
    # tanh(x) = 2 sigmoid(2x) - 1. Triton has no tanh that every device knows.
    result = (2 * tl.sigmoid(2 * values) - 1) * tl.sigmoid(gates)
    tl.store(gated + row.to(tl.int64)[:, None] * C + channel[None, :], result.to(gated.dtype.element_ty), is_result)


@triton.jit(do_not_specialize=["num_rows"], do_not_specialize_on_alignment=["write"])
@no_type_check
def _project(
    gated, weight, bias, features, num_rows, write, norm_weight, norm_bias, eps, cache,
    C: tl.constexpr, HAS_NEXT: tl.constexpr, PRECISION: tl.constexpr,
    TILE_R: tl.constexpr, TILE_C: tl.constexpr, TILE_K: tl.constexpr,
):  # fmt: skip
    """Computes whole rows, so that it can normalise them. See `project`."""
    row = tl.program_id(0) * TILE_R + tl.arange(0, TILE_R)
    channel = tl.arange(0, TILE_C)
    is_row = row < num_rows
    is_channel = channel < C
    is_result = is_row[:, None] & is_channel[None, :]
    begin = row.to(tl.int64)[:, None] * C
    sums = tl.zeros((TILE_R, TILE_C), tl.float32) + tl.load(bias + channel, is_channel, 0.0).to(tl.float32)[None, :]
    for first_k in range(0, C, TILE_K):
        k = first_k + tl.arange(0, TILE_K)
        is_k = k < C
        inputs = tl.load(gated + begin + k[None, :], is_row[:, None] & is_k[None, :], 0.0)
        weights = tl.load(weight + channel[None, :] * C + k[:, None], is_k[:, None] & is_channel[None, :], 0.0)
        sums = tl.dot(inputs, weights, sums, input_precision=PRECISION)
    sums += tl.load(features + begin + channel[None, :], is_result, 0.0).to(tl.float32)
    rounded = sums.to(features.dtype.element_ty)
    tl.store(features + begin + channel[None, :], rounded, is_result)
    if HAS_NEXT:
        # Of the rounded sums, as a layer norm would read them.
        sums = rounded.to(tl.float32)
        mean = tl.sum(tl.where(is_channel[None, :], sums, 0.0), 1) / C
        centred = tl.where(is_channel[None, :], sums - mean[:, None], 0.0)
        scale = tl.rsqrt(tl.sum(centred * centred, 1) / C + eps)
        weight_of_norm = tl.load(norm_weight + channel, is_channel, 0.0).to(tl.float32)
        bias_of_norm = tl.load(norm_bias + channel, is_channel, 0.0).to(tl.float32)
        normed = centred * scale[:, None] * weight_of_norm[None, :] + bias_of_norm[None, :]
        target = tl.load(write + row, is_row, 0).to(tl.int64)
        tl.store(cache + target[:, None] * C + channel[None, :], normed.to(cache.dtype.element_ty), is_result)


IS_INTERPRETED = not isinstance(_gate, triton.JITFunction)
"""True if TRITON_INTERPRET=1 is set: the kernels then run on a CPU, as slowly as Python."""


def gate(
    cache: Float[Tensor, "cells c"],
    rows: Int[Tensor, " r_x_taps"],
    weight: Float[Tensor, "two_c taps_x_c"],
    known: Float[Tensor, "r two_c"],
) -> Float[Tensor, "r c"]:
    """Returns tanh(a) * sigmoid(b) with `[a | b] = known + gathered rows @ weight.T`.

    Args:
        cache: The cached features.
        rows: The row of `cache` for each row of the step and each near tap.
        weight: The weights of the near taps: all channels of the first tap, then all channels of the second one.
        known: The part of the sums that is known ahead. Its rows may be apart.

    Returns:
        The gated features in the dtype of `cache`.
    """
    c = cache.shape[1]
    num_rows = len(known)
    gated = cache.new_empty(num_rows, c)
    tile_r = tile_of(num_rows, _MOST_ROWS)
    # Few rows leave the device to the channels: narrow tiles are more programs.
    tile_c = tile_of(c, 16 if tile_r == _LEAST_TILE else 32)
    tile_k = tile_of(c, 128 // cache.element_size())
    grid = (triton.cdiv(num_rows, tile_r), triton.cdiv(c, tile_c))
    _gate[grid](
        cache, rows, weight, known, gated, num_rows, known.stride(0),
        C=c, TAPS=weight.shape[1] // c, PRECISION=_precision(cache.dtype),
        TILE_R=tile_r, TILE_C=tile_c, TILE_K=tile_k, num_warps=4, num_stages=4,
    )  # fmt: skip
    return gated


def project(
    gated: Float[Tensor, "r c"],
    weight: Float[Tensor, "c c"],
    bias: Float[Tensor, " c"],
    features: Float[Tensor, "r c"],
    write: Int[Tensor, " r"],
    following: tuple[Norm, Float[Tensor, "cells c"]] | None,
) -> None:
    """Adds `gated @ weight.T + bias` to `features`, in place, and stores the next block's input.

    Args:
        gated: The gated features.
        weight: The weights of the projection.
        bias: Its bias.
        features: The sums over the layers.
        write: The rows of the caches that belong to this step.
        following: The norm and the cache of the next block, if it reads these features.
    """
    num_rows, c = features.shape
    tile_r = tile_of(num_rows, 32)
    tile_c = triton.next_power_of_2(max(c, _LEAST_TILE))
    tile_k = tile_of(c, _TILE_BYTES // (tile_c * weight.element_size()))
    norm, cache = following if following is not None else (None, gated)
    _project[(triton.cdiv(num_rows, tile_r),)](
        gated, weight, bias, features, num_rows, write,
        bias if norm is None else norm.weight, bias if norm is None else norm.bias, 0.0 if norm is None else norm.eps,
        cache,
        C=c, HAS_NEXT=norm is not None, PRECISION=_precision(gated.dtype),
        TILE_R=tile_r, TILE_C=tile_c, TILE_K=tile_k, num_warps=4 if c <= 128 else 8, num_stages=2,
    )  # fmt: skip


def tile_of(size: int, most: int) -> int:
    """Returns the side of a tile for `size` numbers: the next power of 2, from 16 to `most` (at least 16)."""
    return max(_LEAST_TILE, min(triton.next_power_of_2(size), most))


def _precision(dtype: torch.dtype) -> str:
    """Returns the precision of products. By default, tensor cores would round float32 to ten bits of mantissa."""
    return "ieee" if dtype == torch.float32 else "tf32"
