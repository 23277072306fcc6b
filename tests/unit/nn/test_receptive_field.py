from fractions import Fraction

import pytest
import torch
from torch import nn

from vqgen.nn.receptive_field import alive_features, needed_inputs
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler

NETWORKS = {
    "encoder of ratio 2": lambda: encoder_network(1, 4, 2, 2, 1),
    "encoder of ratio 8": lambda: encoder_network(3, 4, 8, 2, 2),
    "decoder of ratio 2": lambda: decoder_network(2, 4, 1, 2, 2, 0),
    "decoder of ratio 4": lambda: decoder_network(2, 4, 3, 4, 2, 2),
    "upsampler of ratio 8": lambda: upsampler(2, 4, 2, 8),
    "one strided convolution": lambda: nn.Conv2d(1, 1, kernel_size=4, stride=2, padding=1),
    "one transposed convolution": lambda: nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, padding=1),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network whose weights are above 0, so that no influence is cancelled and no ReLU hides one."""
    built = NETWORKS[request.param]().double()
    for weights in built.parameters():
        nn.init.constant_(weights, 0.1)
    return built


def influences(network, channels, size, first, last):
    """The first and the last row of the input whose change moves one of some rows of the output: by the Jacobian."""
    x = torch.ones(1, channels, size, 8, dtype=torch.float64, requires_grad=True)
    network(x)[0, :, first : last + 1].sum().backward()
    rows = x.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
    return rows[0], rows[-1]


def channels_of(network):
    return next(network.parameters()).shape[0 if isinstance(first_layer(network), nn.ConvTranspose2d) else 1]


def first_layer(network):
    return next(layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)))


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
    with pytest.raises(TypeError, match=f"should be convolutions and ReLUs, found {type(layer).__name__}"):
        needed_inputs(nn.Sequential(nn.Conv2d(2, 2, kernel_size=1), layer), (0, 0))


def test_channels_and_density_of_the_output_are_those_of_a_pass(network):
    channels = channels_of(network)
    alive = alive_features(network, channels, Fraction(1, 4))
    out = network(torch.zeros(1, channels, 16, 16, dtype=torch.float64))
    assert alive.channels == out.shape[1]
    assert alive.output == Fraction(out[0].numel(), 16 * 16 * 4)


def test_input_and_output_of_a_convolution_are_alive_together():
    layer = nn.Conv2d(3, 8, kernel_size=4, stride=2, padding=1)
    assert alive_features(layer, 3, Fraction(1)).peak >= 3 + Fraction(8, 4)
