import copy
import math

import pytest
import torch

from vqgen.nn.causal_attention import CausalAttention
from vqgen.order import CausalOrder

CASES = [(slope, grid) for slope in (1, 2, 3, "raster") for grid in ((4, 4), (3, 5), (5, 3))]


def make(slope, grid, channels=8, heads=2):
    torch.manual_seed(0)
    order = CausalOrder(*grid, slope)
    attention = CausalAttention(channels, heads, order).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention, order


@pytest.mark.parametrize(("slope", "grid"), CASES)
def test_jacobian_is_open_exactly_for_times_that_are_not_later(slope, grid):
    attention, order = make(slope, grid)
    n = order.num_positions
    features = torch.randn(n, *grid, 8, dtype=torch.float64, requires_grad=True)
    attention(features).flatten(1, 2)[torch.arange(n), torch.arange(n)].square().sum().backward()
    assert features.grad is not None
    seen = features.grad.abs().sum(-1).flatten(1) != 0
    assert torch.equal(seen, torch.from_numpy(order.attention_mask()))


@pytest.mark.parametrize(("slope", "grid"), CASES)
def test_attention_equals_a_loop_over_queries_and_heads(slope, grid):
    attention, order = make(slope, grid)
    features = torch.randn(2, *grid, 8, dtype=torch.float64)
    flat = attention.norm(features).flatten(1, 2)
    queries, keys, values = attention.queries_keys_values(flat).split(8, dim=-1)
    expected = torch.zeros_like(flat)
    times = order.times.ravel()
    for query in range(order.num_positions):
        seen = [key for key in range(order.num_positions) if times[key] <= times[query]]
        assert query in seen  # so no softmax is over nothing
        for head in (slice(0, 4), slice(4, 8)):
            scores = torch.einsum("bd,bnd->bn", queries[:, query, head], keys[:, seen][..., head]) / math.sqrt(4)
            expected[:, query, head] = torch.einsum("bn,bnd->bd", scores.softmax(-1), values[:, seen][..., head])
    assert torch.allclose(attention(features).flatten(1, 2), attention.project(expected), atol=1e-10)


def test_training_in_bfloat16_agrees_and_sees_the_same_positions():
    attention, order = make(2, (4, 4))
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rounded = copy.deepcopy(attention).bfloat16()
    gradients = []
    for module in (attention, rounded):
        features = torch.randn(16, 4, 4, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
        features = features.to(module.project.weight.dtype).requires_grad_()
        attended = module(features)
        attended.flatten(1, 2)[torch.arange(16), torch.arange(16)].square().sum().backward()
        gradients.append(features.grad.double())
    exact, found = gradients
    assert (found - exact).norm() < 0.03 * exact.norm()
    assert torch.equal(found.abs().sum(-1).flatten(1) != 0, torch.from_numpy(order.attention_mask()))


def test_prefix_in_order_time_is_enough_for_a_step():
    attention, order = make(2, (4, 4))
    features = torch.randn(2, 4, 4, 8, dtype=torch.float64)
    full = attention(features)
    for step, positions in enumerate(order.steps()):
        later = torch.from_numpy(order.times > step)
        prefix = features.masked_fill(later[..., None], 100.0)
        found = attention(prefix).flatten(1, 2)[:, positions]
        assert torch.allclose(found, full.flatten(1, 2)[:, positions], atol=1e-10)


def test_new_attention_returns_zero_and_stores_no_mask():
    attention = CausalAttention(8, 2, CausalOrder(3, 3))
    assert attention(torch.randn(2, 3, 3, 8)).abs().max() == 0
    assert "mask" not in attention.state_dict()


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="heads should divide channels = 8, found 3"):
        CausalAttention(8, 3, CausalOrder(3, 3))
