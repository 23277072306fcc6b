import pytest
import torch

from vqgen.nn.resizing import decoder_network, encoder_network, upsampler


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


def test_encoder_result_is_rectified():
    assert encoder_network(3, 8, 4, 4, 2)(torch.randn(2, 3, 8, 8)).min() == 0
