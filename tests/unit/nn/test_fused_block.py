"""The fused block against the same block without fusion, which other tests compare with its formula."""

import pytest
import torch
from einops import rearrange
from torch import nn

from vqgen.nn.axes import BATCH_FIRST, POSITIONS_FIRST
from vqgen.nn.fused_block import can_fuse
from vqgen.nn.gated_block import GatedBlock
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.order import CausalOrder

GRIDS = [(1, 1), (3, 4), (5, 2)]


def make(grid, *, conditioned=True, dropout=0.5, kernel_size=3):
    convolution = MaskedConv2d(4, 8, CausalOrder(*grid, 2), kernel_size, strict=False)
    block = GatedBlock(convolution, dropout, conditioned=conditioned)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block.double()


def draw(grid, b=3):
    features, condition = torch.randn(2, *grid, b, 4, dtype=torch.float64).unbind()
    label = torch.randn(b, 4, dtype=torch.float64)
    return [each.requires_grad_() for each in (features, label, condition)]


def unfused(block, features, label, condition):
    """The same numbers in the other layout, which the block does not fuse."""
    features, condition = (
        None if each is None else rearrange(each, "h w b c -> b h w c") for each in (features, condition)
    )
    return rearrange(block(features, label, condition, BATCH_FIRST), "b h w c -> h w b c")


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_fused_block_and_its_gradients_equal_the_unfused_ones(grid, conditioned, kernel_size):
    block = make(grid, conditioned=conditioned, kernel_size=kernel_size).eval()
    features, label, condition = draw(grid)
    inputs = [features, label] + ([condition] if conditioned else [])
    given = (features, label, condition if conditioned else None)
    upstream = torch.randn_like(features)
    results = block(*given, POSITIONS_FIRST), unfused(block, *given)
    assert torch.allclose(*results, atol=1e-12)
    found, expected = (torch.autograd.grad(each, [*inputs, *block.parameters()], upstream) for each in results)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(found, expected, strict=True))


def test_gradient_passes_the_check_by_differences_with_dropout():
    block = make((2, 3))
    features, label, condition = draw((2, 3), b=2)

    def with_same_mask(*inputs):
        torch.manual_seed(0)
        return block(*inputs, POSITIONS_FIRST)

    assert torch.autograd.gradcheck(with_same_mask, (features, label, condition))


def test_gradients_of_the_weights_pass_the_check_by_differences_with_dropout():
    block = make((2, 3))
    inputs = [each.detach() for each in draw((2, 3), b=2)]
    names, weights = zip(*block.named_parameters(), strict=True)

    def with_same_mask(*weights):
        torch.manual_seed(0)
        return torch.func.functional_call(block, dict(zip(names, weights, strict=True)), (*inputs, POSITIONS_FIRST))

    assert torch.autograd.gradcheck(with_same_mask, weights, fast_mode=True)


def test_constant_of_the_norm_is_that_of_the_block():
    block = make((2, 3)).eval()
    block.norm.eps = 0.5
    features, label, condition = draw((2, 3))
    results = block(features, label, condition, POSITIONS_FIRST), unfused(block, features, label, condition)
    assert torch.allclose(*results, atol=1e-12)
    found, expected = (torch.autograd.grad(each.square().sum(), features)[0] for each in results)
    assert torch.allclose(found, expected, atol=1e-10)


def test_dropped_features_contribute_nothing():
    """The projection sees only kept features, scaled: with half of them dropped the mean stays the same."""
    block = make((1, 1), dropout=0.5)
    nn.init.eye_(block.project.weight)
    nn.init.zeros_(block.project.bias)
    features, label, condition = (each.detach() for each in draw((1, 1), b=2000))
    with torch.no_grad():
        kept = block.eval()(features, label, condition, POSITIONS_FIRST) - features
        dropped = block.train()(features, label, condition, POSITIONS_FIRST) - features
    zero = dropped.abs() < 1e-12
    assert torch.allclose(dropped[~zero], 2 * kept[~zero], atol=1e-12)
    assert 0.45 < zero.double().mean() < 0.55  # 8,000 fair draws lie outside with a chance below 10^-18


def test_backward_pass_can_run_twice():
    block = make((2, 2)).eval()
    features, label, condition = draw((2, 2))
    result = block(features, label, condition, POSITIONS_FIRST)
    one, other = (torch.autograd.grad(result.sum(), features, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_second_derivative_is_an_error_and_not_a_wrong_number():
    block = make((2, 2)).eval()
    features, label, condition = draw((2, 2))
    result = block(features, label, condition, POSITIONS_FIRST)
    (gradient,) = torch.autograd.grad(result.square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_block_is_fused_on_a_cpu_in_full_precision_only(monkeypatch):
    features = torch.zeros(2, 2, 1, 4)
    assert can_fuse(features, POSITIONS_FIRST)
    assert can_fuse(features.double(), POSITIONS_FIRST)
    assert not can_fuse(features, BATCH_FIRST)
    assert not can_fuse(features.bfloat16(), POSITIONS_FIRST)
    assert not can_fuse(features.to("meta"), POSITIONS_FIRST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not can_fuse(features, POSITIONS_FIRST)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not can_fuse(features, POSITIONS_FIRST)


def test_block_under_autocast_equals_the_other_layout_to_rounding():
    block = make((3, 4)).float().eval()
    features, label, condition = (each.detach().float() for each in draw((3, 4)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = block(features, label, condition, POSITIONS_FIRST), unfused(block, features, label, condition)
    assert torch.allclose(*results, rtol=0.1, atol=0.3)
