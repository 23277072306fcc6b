from itertools import pairwise

import pytest
import torch
from torch import nn

from vqgen.nn.grid_attention import GridAttention
from vqgen.nn.residual_networks import PreActivationBlock, growing_network, shrinking_network
from vqgen.nn.upsampling import NearestConv2d


@pytest.fixture
def make(tiny_vqvae_config):
    return lambda **changes: tiny_vqvae_config(**({"architecture": "residual", "image_size": 32} | changes))


def widths(network):
    """The output channels of the layers that change the grid."""
    kinds = (nn.ConvTranspose2d, NearestConv2d)
    return [
        layer.out_channels
        for layer in network
        if isinstance(layer, kinds) or (isinstance(layer, nn.Conv2d) and layer.stride == (2, 2))
    ]


def test_block_equals_its_formula():
    block = PreActivationBlock(4, 2)
    x = torch.randn(2, 4, 5, 6)
    norm, _, first, inner_norm, _, second = block.layers
    silu = nn.functional.silu
    assert torch.equal(block(x), x + second(silu(inner_norm(first(silu(norm(x)))))))


def test_block_with_a_silent_last_convolution_is_the_identity():
    block = PreActivationBlock(4, 2)
    for parameter in block.layers[-1].parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 5, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("finer", "coarser"), [(1, 2), (1, 8), (2, 4), (4, 16)])
def test_networks_resize_between_their_grids(make, finer, coarser):
    config = make(downsample=(16, 2), image_channels=3, channel_multipliers=[1, 2, 3])
    fine = torch.randn(2, 3 if finer == 1 else config.channels_of(finer), 32 // finer, 64 // finer)
    features = shrinking_network(config, finer, coarser)(fine)
    assert features.shape == (2, config.channels_of(coarser), 32 // coarser, 64 // coarser)
    grown = growing_network(config, features.shape[1], 5, coarser, finer)(features)
    assert grown.shape == (2, 5, 32 // finer, 64 // finer)


def test_channels_of_each_grid_follow_their_multipliers(make):
    config = make(downsample=(16,), channel_multipliers=[1, 2, 4])
    assert widths(shrinking_network(config, 1, 16)) == [8, 16, 32, 32]
    assert widths(growing_network(config, 4, 1, 16, 1)) == [32, 16, 8, 1]
    block = next(part for part in shrinking_network(config, 1, 16) if isinstance(part, PreActivationBlock))
    assert block.layers[2].weight.shape == (16, 32, 3, 3)  # residual_channels are multiplied, too


def test_attention_stands_on_the_coarsest_grid_alone(make):
    config = make(downsample=(16, 4), attention_heads=2)
    found = {
        grids: sum(isinstance(part, GridAttention) for part in network)
        for grids, network in {
            (4, 16): shrinking_network(config, 4, 16),
            (1, 4): shrinking_network(config, 1, 4),
            (16, 4): growing_network(config, 4, 8, 16, 4),
            (4, 1): growing_network(config, 8, 1, 4, 1),
        }.items()
    }
    assert found == {(4, 16): 1, (1, 4): 0, (16, 4): 1, (4, 1): 0}
    attention = next(part for part in shrinking_network(config, 4, 16) if isinstance(part, GridAttention))
    assert (attention.heads, attention.side) == (2, 2)  # the grid of a training image is one square


@pytest.mark.parametrize("layers", [0, 3])
def test_number_of_blocks_is_that_of_the_configuration(make, layers):
    config = make(residual_layers=layers)
    networks = [shrinking_network(config, 1, 4), growing_network(config, 4, 1, 4, 1)]
    networks.append(growing_network(make(residual_layers=7), 4, 1, 4, 1, layers=layers))
    for network in networks:
        assert sum(isinstance(part, PreActivationBlock) for part in network) == layers


@pytest.mark.parametrize(("kind", "layer"), [("transposed", nn.ConvTranspose2d), ("nearest", NearestConv2d)])
def test_grids_grow_by_the_chosen_layer(make, kind, layer):
    network = growing_network(make(upsampling=kind), 4, 1, 4, 1)
    assert sum(isinstance(part, layer) for part in network) == 2
    assert isinstance(network[-1], layer)  # without an activation: pixels may be negative


def test_no_two_convolutions_follow_each_other_without_an_activation(make):
    """They would be one convolution."""
    config = make(downsample=(8,), residual_layers=0)
    for network in (shrinking_network(config, 1, 8), growing_network(config, 4, 1, 8, 1)):
        kernels = [isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)) for part in network]
        assert not any(both == (True, True) for both in pairwise(kernels))
