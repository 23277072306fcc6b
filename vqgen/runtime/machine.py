"""The best speed of a device, measured in about a second: the yardstick of `vqgen plan` and of the benchmarks."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

_SECONDS = 0.2
"""Time for each operation. The best repetition counts, so that other work on the machine matters less."""

_LEAST_REPETITIONS = 3
"""Least repetitions of each operation, for slow machines."""


@dataclass(frozen=True)
class Machine:
    """The speeds of one device in one dtype.

    Attributes:
        matmul_flops: FLOP/s of a large square matrix product. A multiplication and an addition count as two.
        convolution_flops: FLOP/s of a large 3 x 3 convolution, in the faster of the two memory layouts.
        bandwidth: Bytes/s of a matrix-vector product whose matrix fits in no cache.
    """

    matmul_flops: float
    convolution_flops: float
    bandwidth: float

    @property
    def peak_flops(self) -> float:
        """The FLOP/s of the faster operation. Some machines multiply faster, and some convolve faster."""
        return max(self.matmul_flops, self.convolution_flops)


@dataclass(frozen=True)
class _Sizes:
    """The sizes of the operations: large enough to fill the device, small enough for several repetitions.

    Attributes:
        side: Rows and columns of the square matrices.
        images: Images of the convolution, 64 x 64.
        channels: Channels of the convolution, in and out.
        rows: Rows of the matrix that is multiplied by a vector.
        columns: Columns of that matrix. The matrix is larger than any cache.
    """

    side: int
    images: int
    channels: int
    rows: int
    columns: int


_CPU = _Sizes(side=1536, images=2, channels=128, rows=16384, columns=4096)
_ACCELERATOR = _Sizes(side=8192, images=64, channels=256, rows=65536, columns=8192)


@torch.inference_mode()
def measure_machine(device: torch.device, dtype: torch.dtype = torch.float32) -> Machine:
    """Measures a device: the best of several short repetitions of each operation.

    Args:
        device: The device to measure.
        dtype: The dtype of all operands.
    """
    sizes = _CPU if device.type == "cpu" else _ACCELERATOR
    layouts = (torch.contiguous_format, torch.channels_last)
    return Machine(
        matmul_flops=_matmul_flops(device, dtype, sizes),
        convolution_flops=max(_convolution_flops(device, dtype, sizes, layout) for layout in layouts),
        bandwidth=_bandwidth(device, dtype, sizes),
    )


def _matmul_flops(device: torch.device, dtype: torch.dtype, sizes: _Sizes) -> float:
    left, right = (torch.randn(sizes.side, sizes.side, device=device, dtype=dtype) for _ in range(2))
    # A product of two n x n matrices takes n^3 multiplications and as many additions.
    return 2 * sizes.side**3 / _best_seconds(lambda: left @ right, device)


def _convolution_flops(device: torch.device, dtype: torch.dtype, sizes: _Sizes, layout: torch.memory_format) -> float:
    images = torch.randn(sizes.images, sizes.channels, 64, 64, device=device, dtype=dtype).to(memory_format=layout)
    kernel = torch.randn(sizes.channels, sizes.channels, 3, 3, device=device, dtype=dtype).to(memory_format=layout)
    # Each element of the result, as many as of the input, sums 9 taps over all channels.
    flops = 2 * images.numel() * sizes.channels * 9
    return flops / _best_seconds(lambda: F.conv2d(images, kernel, padding=1), device)


def _bandwidth(device: torch.device, dtype: torch.dtype, sizes: _Sizes) -> float:
    matrix = torch.randn(sizes.rows, sizes.columns, device=device, dtype=dtype)
    vector = torch.randn(sizes.columns, device=device, dtype=dtype)
    return matrix.nbytes / _best_seconds(lambda: torch.mv(matrix, vector), device)


def _best_seconds(act: Callable[[], object], device: torch.device) -> float:
    """Returns the shortest time of `act`."""
    _timed(act, device)  # the first call also allocates memory and chooses kernels
    times: list[float] = []
    while len(times) < _LEAST_REPETITIONS or sum(times) < _SECONDS:
        times.append(_timed(act, device))
    return min(times)


def _timed(act: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that the device takes for `act`."""
    # An accelerator works behind the host, so both ends of the interval wait for it.
    _wait(device)
    begin = time.perf_counter()
    act()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
