from fractions import Fraction

import pytest
import torch
from torch import nn

from vqgen.config import VQVAEConfig
from vqgen.nn.channel_norm import ChannelNorm
from vqgen.nn.grid_attention import GridAttention
from vqgen.nn.receptive_field import alive_features, needed_inputs
from vqgen.nn.residual_networks import growing_network, shrinking_network
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler
from vqgen.nn.upsampling import NearestConv2d

RESIDUAL = VQVAEConfig(
    architecture="residual", downsample=(8, 2), channels=4, residual_channels=2, residual_layers=1, image_size=64,
    image_channels=1, upsampling="nearest", channel_multipliers=(1, 2),
)  # fmt: skip

NETWORKS = {
    "encoder of ratio 2": lambda: encoder_network(1, 4, 2, 2, 1),
    "encoder of ratio 8": lambda: encoder_network(3, 4, 8, 2, 2),
    "decoder of ratio 2": lambda: decoder_network(2, 4, 1, 2, 2, 0),
    "decoder of ratio 4": lambda: decoder_network(2, 4, 3, 4, 2, 2),
    "upsampler of ratio 8": lambda: upsampler(2, 4, 2, 8),
    "upsampler of nearest features": lambda: upsampler(2, 4, 2, 8, "nearest"),
    "residual encoder of ratio 2": lambda: shrinking_network(RESIDUAL, 1, 2),
    "residual encoder of ratio 4": lambda: shrinking_network(RESIDUAL, 2, 8),
    "residual decoder of ratio 4": lambda: growing_network(RESIDUAL, 2, 4, 8, 2),
    "one strided convolution": lambda: nn.Conv2d(1, 1, kernel_size=4, stride=2, padding=1),
    "one transposed convolution": lambda: nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, padding=1),
}


GROWING = (nn.ConvTranspose2d, NearestConv2d)


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network that hides and cancels no influence."""
    return showing(NETWORKS[request.param]().double())


def showing(built):
    """Sets weights above 0, so that no ReLU hides an influence; those of a network with norms are random.

    The mean of equal channels is each of them, so that a norm would take all away.
    """
    has_norms = any(isinstance(layer, ChannelNorm) for layer in built.modules())
    for weights in built.parameters():
        nn.init.normal_(weights) if has_norms else nn.init.constant_(weights, 0.1)
    return built


def influences(network, channels, size, first, last):
    """The first and the last row of the input whose change moves one of some rows of the output: by the Jacobian."""
    x = torch.rand(1, channels, size, 8, dtype=torch.float64).add_(1).requires_grad_()
    network(x)[0, :, first : last + 1].sum().backward()
    rows = x.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
    return rows[0], rows[-1]


def channels_of(network):
    return next(layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, *GROWING))).in_channels


@pytest.mark.parametrize("outputs", [(0, 0), (0, 1), (3, 3), (4, 9), (5, 10), (7, 7)])
def test_needed_inputs_are_exactly_those_with_an_influence(network, outputs):
    size = 256
    rate = network(torch.ones(1, channels_of(network), 16, 16, dtype=torch.float64)).shape[2] / 16
    middle = int(size * rate) // 2  # far from the edges, where the padding has no part in it
    first, last = outputs[0] + middle, outputs[1] + middle
    assert needed_inputs(network, (first, last)) == influences(network, channels_of(network), size, first, last)


def test_positions_before_the_grid_count_too():
    assert needed_inputs(nn.Conv2d(1, 1, kernel_size=3, padding=1), (0, 0)) == (-1, 1)
    assert needed_inputs(nn.Conv2d(1, 1, kernel_size=4, stride=2, padding=1), (-1, 0)) == (-3, 2)


@pytest.mark.parametrize("layer", [nn.Linear(2, 2), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(1, 2)])
def test_layer_that_may_see_the_whole_grid_is_refused(layer):
    text = f"should be convolutions, attentions and pointwise ones, found {type(layer).__name__}"
    with pytest.raises(TypeError, match=text):
        needed_inputs(nn.Sequential(nn.Conv2d(2, 2, kernel_size=1), layer), (0, 0))


@pytest.mark.parametrize("place", range(5))
def test_attention_reaches_to_the_ends_of_its_square(place):
    """Between two attentions a convolution leads into the neighbouring square, which then counts as a whole."""
    attentions = [GridAttention(2, 1, side=5) for _ in range(2)]
    layers = [attentions[0], nn.Conv2d(2, 2, kernel_size=3, padding=1), attentions[1]]
    network = showing(nn.Sequential(*layers).double())
    row = 40 + place
    assert needed_inputs(network, (row, row)) == influences(network, 2, 80, row, row) == (35, 49)
    assert needed_inputs(attentions[0], (-1, 0)) == (-5, 4)


def test_channels_and_density_of_the_output_are_those_of_a_pass(network):
    channels = channels_of(network)
    alive = alive_features(network, channels, Fraction(1, 4))
    out = network(torch.zeros(1, channels, 16, 16, dtype=torch.float64))
    assert alive.channels == out.shape[1]
    assert alive.output == Fraction(out[0].numel(), 16 * 16 * 4)


def test_input_and_output_of_a_convolution_are_alive_together():
    layer = nn.Conv2d(3, 8, kernel_size=4, stride=2, padding=1)
    assert alive_features(layer, 3, Fraction(1)).peak >= 3 + Fraction(8, 4)
