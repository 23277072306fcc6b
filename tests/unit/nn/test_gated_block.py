import pytest
import torch
from torch import nn

from vqgen.nn.gated_block import GatedBlock, PointwiseBlock, convolve
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.order import CausalOrder


def make(*, conditioned=True, grid=(3, 4), channels=4):
    order = CausalOrder(*grid, 2)
    block = GatedBlock(MaskedConv2d(channels, 2 * channels, order, 3, strict=False), 0.5, conditioned=conditioned)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block.double().eval(), order


def draw(b=2, grid=(3, 4), channels=4):
    features, condition = torch.randn(2, b, *grid, channels, dtype=torch.float64).unbind()
    return features, torch.randn(b, channels, dtype=torch.float64), condition


@pytest.mark.parametrize("conditioned", [True, False])
def test_block_equals_its_formula_position_by_position(conditioned):
    block, _ = make(conditioned=conditioned)
    features, label, condition = draw()
    inner = convolve(block.convolution, block.norm(features))
    expected = torch.empty_like(features)
    for row in range(3):
        for column in range(4):
            both = inner[:, row, column] + block.label(label)
            if conditioned:
                both = both + block.condition(condition[:, row, column])
            gated = both[:, :4].tanh() * both[:, 4:].sigmoid()
            expected[:, row, column] = features[:, row, column] + block.project(gated)
    assert torch.allclose(block(features, label, condition if conditioned else None), expected, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_features_of_later_times_change_nothing(training):
    block, order = make()
    block.train(training)
    features, label, condition = draw()
    for time in range(order.num_steps):
        later = torch.from_numpy(order.times > time)
        changed = features.masked_fill(later[..., None], 9.0)
        results = []
        for each in (features, changed):
            torch.manual_seed(time)  # the same dropout
            results.append(block(each, label, condition)[:, ~later])
        assert torch.equal(*results)


def test_new_blocks_are_the_identity():
    order = CausalOrder(3, 4, 2)
    features, label, condition = (each.float() for each in draw())
    gated = GatedBlock(MaskedConv2d(4, 8, order, 3, strict=False), 0.5, conditioned=True)
    assert torch.equal(gated(features, label, condition), features)
    assert torch.equal(PointwiseBlock(4, 0.5)(features), features)


def test_pointwise_block_acts_on_any_subset_of_positions():
    block = PointwiseBlock(4, 0.5).double().eval()
    nn.init.normal_(block.project.weight)
    features, _, _ = draw()
    assert torch.allclose(block(features)[:, 1, [0, 2]], block(features[:, 1, [0, 2]]), atol=1e-12)


def test_convolve_keeps_channels_last_and_copies_nothing():
    features, _, _ = draw()
    assert convolve(nn.Identity(), features).data_ptr() == features.data_ptr()
    plain = nn.Conv2d(4, 5, 1).double()
    expected = features @ plain.weight[:, :, 0, 0].T + plain.bias
    assert torch.allclose(convolve(plain, features), expected, atol=1e-12)
