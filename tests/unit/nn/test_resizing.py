import pytest
import torch

from vqgen.nn.residual import ResidualStack
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler
from vqgen.nn.upsampling import NearestConv2d


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_networks_resize_by_their_ratio(ratio):
    images = torch.randn(2, 3, 2 * ratio, 3 * ratio)
    features = encoder_network(3, 8, ratio, 4, 1)(images)
    assert features.shape == (2, 8, 2, 3)
    assert decoder_network(8, 6, 3, ratio, 4, 1)(features).shape == images.shape
    assert upsampler(8, 6, 3, ratio)(features).shape == images.shape


@pytest.mark.parametrize("ratio", [2, 8])
def test_growing_networks_do_not_end_in_a_relu(ratio):
    network = upsampler(8, 6, 3, ratio)
    torch.nn.init.constant_(network[-1].bias, -100.0)
    assert network(torch.randn(4, 8, 2, 2)).max() < 0
    assert isinstance(decoder_network(8, 6, 3, ratio, 4, 1)[-1][-1], torch.nn.ConvTranspose2d)


@pytest.mark.parametrize(("kind", "layer"), [("transposed", torch.nn.ConvTranspose2d), ("nearest", NearestConv2d)])
def test_grids_grow_by_the_chosen_layer(kind, layer):
    for network in (upsampler(8, 6, 3, 4, kind), decoder_network(8, 6, 3, 4, 4, 1, kind)[-1]):
        assert [type(part) for part in network] == [layer, torch.nn.ReLU, layer]


def test_layers_of_a_decoder_draw_their_weights_in_the_order_of_the_pass():
    """Seeds give the weights that they always gave."""
    torch.manual_seed(5)
    found = decoder_network(8, 6, 3, 4, 4, 1)
    torch.manual_seed(5)
    start = torch.nn.Conv2d(8, 6, kernel_size=3, padding=1)
    stack = ResidualStack(6, 4, 1)
    grow = [torch.nn.ConvTranspose2d(i, o, kernel_size=4, stride=2, padding=1) for i, o in ((6, 3), (3, 3))]
    expected = [*start.parameters(), *stack.parameters(), *grow[0].parameters(), *grow[1].parameters()]
    assert all(torch.equal(one, other) for one, other in zip(found.parameters(), expected, strict=True))


def test_encoder_result_is_rectified():
    assert encoder_network(3, 8, 4, 4, 2)(torch.randn(2, 3, 8, 8)).min() == 0
