"""A prior in fixed point that moves over grids, with a whole step in one call of `fixed_prior.c`.

The results are those of `FixedSteps`, to the last bit. A step of some forty positions has so little work that the calls
of torch for each of its layers would take most of the time.

Legend: `b` images, `m` positions of a step, `c` channels, `k` codebook entries, `hc wc` coarser grid.
"""

import ctypes
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vqgen.codec import c_fixed
from vqgen.codec.c_fixed import COUNT, POINTER, LinearMap, Norm, Rounding
from vqgen.codec.fixed_point import (
    FixedLinear,
    FixedNorm,
    fixed_sigmoid,
    fixed_tanh,
    gelu_beside_relu,
)
from vqgen.codec.fixed_prior import FixedConvolution, FixedPrior, FixedSteps, Ring
from vqgen.codec.frequencies import rounding


class _Taps(ctypes.Structure):
    _fields_ = [("count", COUNT), ("lags", POINTER), ("shifts", POINTER)]


class _GatedBlock(ctypes.Structure):
    _fields_ = [
        ("norm", Norm), ("convolution", LinearMap), ("condition", LinearMap), ("project", LinearMap),
        ("labels", POINTER), ("ring", POINTER),
    ]  # fmt: skip


class _PointwiseBlock(ctypes.Structure):
    _fields_ = [("norm", Norm), ("expand", LinearMap), ("project", LinearMap)]


class _Network(ctypes.Structure):
    _fields_ = [
        *[(name, COUNT) for name in (
            "images", "channels", "codes", "rows_of_ring", "half", "slots", "slope", "widest"
        )],
        ("strict", _Taps), ("open", _Taps), ("first", LinearMap), ("ring", POINTER), ("embedding", POINTER),
        ("num_blocks", COUNT), ("num_pointwise", COUNT), ("blocks", POINTER), ("pointwise", POINTER),
        ("norm", Norm), ("logits", LinearMap), ("tanh", POINTER), ("sigmoid", POINTER), ("gelu", POINTER),
        ("coarser", POINTER), ("coarser_height", COUNT), ("coarser_width", COUNT),
        ("ratio_height", COUNT), ("ratio_width", COUNT), ("patches", POINTER), ("rule", Rounding),
    ]  # fmt: skip


class CompiledSteps(FixedSteps):
    """As `FixedSteps`, for a CPU with the compiled functions."""

    def frequencies(self, time: int) -> NDArray[np.int64]:
        """As in `FixedSteps`."""
        rows = self.rows(time)
        network = self._network
        result = np.empty((len(rows), network.images, network.codes), dtype=np.int64)
        if not c_fixed.functions().fixed_step(ctypes.byref(network), time, rows.start, len(rows), result.ctypes.data):
            raise MemoryError
        return result

    def append(self, time: int, codes: NDArray[np.int64]) -> None:
        """As in `FixedSteps`."""
        if codes.min() < 0 or codes.max() >= self._network.codes:
            raise IndexError(f"codes should be in [0, {self._network.codes}), found {codes.min()} to {codes.max()}")
        rows = self.rows(time)
        codes = np.ascontiguousarray(codes)
        network = ctypes.byref(self._network)
        c_fixed.functions().fixed_append(network, time, rows.start, len(rows), codes.ctypes.data)

    @cached_property
    def _kept(self) -> list[object]:
        """Objects that the structures point to, beside the parts of the prior."""
        return []

    @cached_property
    def _network(self) -> _Network:
        prior = self._prior
        blocks = [
            _GatedBlock(
                _norm(block.norm), _linear(block.convolution.linear),
                LinearMap() if block.condition is None else _linear(block.condition), _linear(block.project),
                label.data_ptr(), self._ring(ring),
            )
            for block, ring, label in zip(prior.blocks, self._features, self._labels, strict=True)
        ]  # fmt: skip
        pointwise = [
            _PointwiseBlock(_norm(norm), _linear(expand), _linear(project)) for norm, expand, project in prior.output
        ]
        first = _linear(prior.first.linear)
        first.bias = prior.first_bias.data_ptr()
        strict, opened = prior.first, prior.blocks[0].convolution
        wide = [first, *(part for block in blocks for part in (block.convolution, block.condition))]
        wide += [part for block in pointwise for part in (block.expand, block.project)]
        widest = max(max(part.inputs, part.outputs) for part in [*wide, _linear(prior.logits)])
        channels = prior.embedding.shape[1]
        network = _Network(
            self._codes.features.shape[2], channels, prior.logits.matrix.shape[1], self._codes.rows, prior.half,
            prior.slots, prior.slope, widest, self._taps(strict), self._taps(opened), first, self._ring(self._codes),
            prior.embedding.data_ptr(), len(blocks), len(pointwise), self._array(_GatedBlock, blocks),
            self._array(_PointwiseBlock, pointwise), _norm(prior.norm), _linear(prior.logits),
            fixed_tanh.table.data_ptr(), fixed_sigmoid.table.data_ptr(), gelu_beside_relu.table.data_ptr(),
        )  # fmt: skip
        network.rule = rounding()
        self._add_coarser(network, prior)
        return network

    def _add_coarser(self, network: _Network, prior: FixedPrior) -> None:
        if prior.coarser is None or self._coarser is None:
            return
        self._coarser = self._coarser.contiguous()
        network.coarser = self._coarser.data_ptr()
        network.coarser_height, network.coarser_width = self._coarser.shape[1:3]
        network.ratio_height, network.ratio_width = prior.coarser.ratio
        network.patches = self._array(LinearMap, [_linear(patch) for patch in prior.coarser.patches])

    def _array(self, kind: type[ctypes.Structure], parts: Sequence[ctypes.Structure]) -> int:
        array = (kind * len(parts))(*parts)
        self._kept.append(array)
        return ctypes.addressof(array)

    def _taps(self, convolution: FixedConvolution) -> _Taps:
        columns = np.ascontiguousarray(np.array(convolution.lags, dtype=np.int64).T)
        self._kept.append(columns)
        lags, shifts = (column.ctypes.data for column in columns)
        return _Taps(columns.shape[1], lags, shifts)

    @staticmethod
    def _ring(ring: Ring) -> int:
        return ring.features.data_ptr()


def can_compile(prior: FixedPrior) -> bool:
    """Returns True if the steps of a prior are compiled: on a CPU, with a C compiler."""
    has_panels = prior.first.linear.panels is not None
    return has_panels and prior.embedding.device.type == "cpu" and c_fixed.library() is not None


def steps_of(prior: FixedPrior) -> type[FixedSteps]:
    """Returns the fastest way that the machine has to move a prior over grids."""
    return CompiledSteps if can_compile(prior) else FixedSteps


def _linear(linear: FixedLinear) -> LinearMap:
    assert linear.panels is not None
    return c_fixed.linear_map(linear.panels, linear.matrix.shape[1], linear.bias)


def _norm(norm: FixedNorm) -> Norm:
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)
