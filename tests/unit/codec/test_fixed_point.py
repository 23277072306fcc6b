import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vqgen.codec.fixed_point import (
    FRACTION_BITS,
    LARGEST,
    FixedLinear,
    FixedNorm,
    centred_and_variance,
    fixed_gelu,
    fixed_sigmoid,
    fixed_tanh,
    gelu_beside_relu,
    to_fixed,
)

UNIT = 2.0**-FRACTION_BITS


def fixed_values(*shape, scale=3.0, seed=0):
    """Draws numbers in fixed point."""
    return to_fixed(scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def is_fixed(values):
    return torch.equal(values / UNIT, (values / UNIT).round())


def test_numbers_are_rounded_half_to_even_and_clamped():
    given = torch.tensor([0.5, 1.5, 2.5, -0.5, 0.51, 1e9, -1e9], dtype=torch.float64) * UNIT
    expected = torch.tensor([0, 2, 2, 0, 1, LARGEST / UNIT, -LARGEST / UNIT], dtype=torch.float64) * UNIT
    assert torch.equal(to_fixed(given)[:5], expected[:5])
    assert torch.equal(to_fixed(torch.tensor([1e9, -1e9], dtype=torch.float64)), expected[5:] * 1.0)


def test_sums_do_not_depend_on_the_order_in_which_they_are_added_up():
    """The same in every order is the same in every library: an inexact sum differs for some of many orders."""
    features = fixed_values(8, 512, scale=50.0)
    weight = torch.randn(16, 512, dtype=torch.float64)
    whole = FixedLinear(weight)
    for seed in range(20):
        order = torch.randperm(512, generator=torch.Generator().manual_seed(seed))
        shuffled = features[:, order]
        one_by_one = torch.zeros(8, 16, dtype=torch.float64)
        for channel in range(512):
            one_by_one += shuffled[:, channel, None] * whole.matrix[order[channel]]
        assert torch.equal(to_fixed(one_by_one), whole(features))
        assert torch.equal(one_by_one, features @ whole.matrix)  # before the rounding, which could hide a difference


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_large_weights_keep_fewer_bits_so_that_sums_stay_exact(scale):
    weight = scale * torch.randn(4, 2048, dtype=torch.float64)
    linear = FixedLinear(weight)
    # The largest sum that features of +-2^10 make: the next number below it is exact too.
    largest = (linear.matrix.abs().sum(dim=0) * 2**10).max()
    smallest = linear.matrix.abs()[linear.matrix != 0].min() * UNIT
    assert largest + smallest != largest
    assert largest + smallest - largest == smallest


def test_linear_map_and_norm_are_near_those_of_torch():
    features = fixed_values(5, 7, 24)
    linear = nn.Linear(24, 10).double()
    norm = nn.LayerNorm(24).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for fixed, exact in [(FixedLinear(linear.weight, linear.bias), linear), (FixedNorm(norm), norm)]:
        found = fixed(features)
        assert is_fixed(found)
        torch.testing.assert_close(found, exact(features), atol=2e-3, rtol=0)


def test_norm_does_not_depend_on_the_order_of_the_channels():
    norm = nn.LayerNorm(2048).double()
    features = fixed_values(40, 2048, scale=100.0)
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(0))
    # Before the last rounding, which could hide a difference.
    assert torch.equal(centred_and_variance(features)[1], centred_and_variance(features[:, order])[1])
    assert torch.equal(FixedNorm(norm)(features)[:, order], FixedNorm(norm)(features[:, order]))


@pytest.mark.parametrize(
    ("fixed", "exact"), [(fixed_tanh, torch.tanh), (fixed_sigmoid, torch.sigmoid), (fixed_gelu, F.gelu)]
)
def test_functions_are_near_those_of_torch(fixed, exact):
    values = torch.cat([torch.linspace(-20, 20, 9001, dtype=torch.float64), torch.tensor([-250.0, 250.0]).double()])
    values = to_fixed(values)
    found = fixed(values)
    assert is_fixed(found)
    torch.testing.assert_close(found, exact(values), atol=1e-3, rtol=0)


@pytest.mark.parametrize("function", [fixed_tanh, fixed_sigmoid, gelu_beside_relu])
def test_no_entry_of_a_table_is_near_a_tie(function):
    """So a library that computes the function a little differently makes the same table."""
    fractions = (function.exact / UNIT) % 1
    assert (fractions - 0.5).abs().min() * UNIT > 1e-11


def test_table_stays_on_the_cpu_after_values_of_another_device():
    before = fixed_tanh.table
    fixed_tanh(torch.zeros(3, dtype=torch.float64, device="meta"))
    assert fixed_tanh.table is before
    assert torch.equal(fixed_tanh(torch.tensor([0.0, 20.0], dtype=torch.float64)), torch.tensor([0.0, 1.0]).double())
