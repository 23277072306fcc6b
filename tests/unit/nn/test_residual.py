import pytest
import torch
from torch import nn

from vqgen.nn.residual import ResidualBlock, ResidualStack


def test_block_equals_its_formula():
    block = ResidualBlock(4, 2)
    features = torch.randn(2, 4, 5, 6)
    expected = features + block.pointwise(block.spatial(features.relu()).relu())
    assert torch.equal(block(features), expected)


def test_block_with_a_silent_last_convolution_is_the_identity():
    block = ResidualBlock(4, 2)
    for parameter in block.pointwise.parameters():
        nn.init.zeros_(parameter)
    features = torch.randn(2, 4, 5, 6)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_stack_is_its_blocks_and_a_relu(layers):
    stack = ResidualStack(4, 2, layers)
    features = torch.randn(2, 4, 3, 3)
    expected = features
    for block in list(stack)[:-1]:
        expected = block(expected)
    assert len(stack) == layers + 1
    assert torch.equal(stack(features), expected.relu())
