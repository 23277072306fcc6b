"""The compiled layers in fixed point have the bits of those in torch, for any number of rows, threads and channels."""

import numpy as np
import pytest
import torch
from torch import nn

from vqgen.codec import c_fixed
from vqgen.codec.fixed_point import FixedLinear, FixedNorm, fixed_gate, fixed_gelu, fixed_sigmoid, fixed_tanh, to_fixed
from vqgen.codec.frequencies import TOTAL, frequencies_of_logits

pytestmark = pytest.mark.skipif(c_fixed.library() is None, reason="the C functions cannot be compiled here")


def fixed_values(*shape, scale=3.0, seed=0):
    """Draws numbers in fixed point; some of them lie beyond all bounds."""
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return to_fixed(scale * draws)


def in_both_ways(monkeypatch, function, *arguments):
    """Computes a function in C and in torch."""
    calls = []
    with torch.no_grad(), monkeypatch.context() as patched:
        real = c_fixed.library()
        patched.setattr(c_fixed, "functions", lambda: calls.append(1) or real)
        compiled = function(*arguments)
        assert calls
        patched.setattr(c_fixed, "can_compute", lambda features: False)
        return compiled, function(*arguments)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 16), (64, 33), (768, 128), (64, 512)])
def test_linear_maps_have_the_bits_of_torch(monkeypatch, inputs, outputs, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for bias in (None, torch.randn(outputs, dtype=torch.float64)):
        layer = FixedLinear(torch.randn(outputs, inputs, dtype=torch.float64), bias)
        for rows in (*range(1, 14), 48, 97):
            features = fixed_values(rows, inputs, scale=60.0, seed=rows)
            compiled, expected = in_both_ways(monkeypatch, layer, features)
            assert torch.equal(compiled, expected)
            # A part of a larger tensor, with strides of its own, and with more dimensions.
            apart = fixed_values(rows, 2, inputs + 3, seed=rows)[:, :, 1 : inputs + 1]
            compiled, expected = in_both_ways(monkeypatch, layer, apart)
            assert torch.equal(compiled, expected)


@pytest.mark.parametrize("channels", [1, 7, 64, 2048])
@pytest.mark.parametrize("scale", [0.001, 1.0, 200.0])
def test_norms_have_the_bits_of_torch(monkeypatch, channels, scale):
    norm = nn.LayerNorm(channels).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    compiled, expected = in_both_ways(monkeypatch, FixedNorm(norm), fixed_values(50, channels, scale=scale))
    assert torch.equal(compiled, expected)


@pytest.mark.parametrize("function", [fixed_tanh, fixed_sigmoid, fixed_gelu, fixed_gate])
@pytest.mark.parametrize("scale", [0.01, 3.0, 300.0])
def test_functions_have_the_bits_of_torch(monkeypatch, function, scale):
    compiled, expected = in_both_ways(monkeypatch, function, fixed_values(40, 2, 96, scale=scale))
    assert torch.equal(compiled, expected)
    every = torch.arange(-20 * 4096, 20 * 4096, dtype=torch.float64).reshape(-1, 2, 1024)[: 4096 // 2] / 4096
    compiled, expected = in_both_ways(monkeypatch, function, every[:, :1].expand(-1, 2, -1)[:1000])
    assert torch.equal(compiled, expected)


@pytest.mark.parametrize("codes", [2, 7, 512, 1024])
@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 10.0, 1000.0])
def test_frequencies_are_the_integers_of_numpy(monkeypatch, codes, scale):
    logits = scale * torch.randn(200, 2, codes, dtype=torch.float64)
    logits[0, 0, 0], logits[1, 0, 0], logits[2, 1, 1] = torch.nan, torch.inf, -torch.inf
    logits[3] = torch.arange(codes) / 64  # halfway between two multiples
    compiled, expected = in_both_ways(monkeypatch, frequencies_of_logits, logits)
    assert np.array_equal(compiled, expected)
    assert (compiled.sum(axis=-1) == TOTAL).all()


def test_rows_beyond_a_step_and_gradients_are_left_to_torch():
    with torch.no_grad():
        assert c_fixed.can_compute(fixed_values(48, 64))
        assert not c_fixed.can_compute(fixed_values(4097, 2))
    assert not c_fixed.can_compute(fixed_values(48, 64))


def test_panels_hold_all_outputs_and_zeros():
    matrix = fixed_values(3, 5)
    panels = c_fixed.panels_of(matrix)
    assert panels is not None
    lanes = c_fixed.library().panel_width()
    assert panels.shape == (-(-5 // lanes), 3, lanes)
    assert panels.sum() == pytest.approx(float(matrix.sum()))
