from dataclasses import replace

import pytest
import torch

from vqgen.runtime.machine import Machine, measure_machine


def test_peak_is_the_speed_of_the_faster_operation():
    machine = Machine(matmul_flops=3.0, convolution_flops=2.0, bandwidth=1.0)
    assert machine.peak_flops == 3.0
    assert replace(machine, convolution_flops=4.0).peak_flops == 4.0


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_speeds_have_the_order_of_magnitude_of_real_machines(dtype):
    """From a tenth of a slow core to a hundred times the fastest accelerator. A wrong unit is off by 10^3 or more."""
    machine = measure_machine(torch.device("cpu"), dtype)
    assert 1e8 < machine.matmul_flops < 1e17
    assert 1e8 < machine.convolution_flops < 1e17
    assert 1e8 < machine.bandwidth < 1e15
