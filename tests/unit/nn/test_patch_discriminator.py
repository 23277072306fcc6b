import pytest
import torch
from torch import nn

from vqgen.models.without_weights import without_weights
from vqgen.nn.patch_discriminator import PatchDiscriminator


def make(**changes):
    settings = {"in_channels": 3, "channels": 8, "layers": 3, "is_normalized": True}
    return PatchDiscriminator(**(settings | changes))


@pytest.mark.parametrize(("layers", "side", "patches"), [(1, 8, 4), (2, 8, 2), (3, 8, 1), (3, 64, 8), (5, 64, 2)])
def test_each_layer_halves_the_grid(layers, side, patches):
    assert make(layers=layers)(torch.zeros(2, 3, side, side)).shape == (2, 1, patches, patches)


def test_channels_double_up_to_eight_times():
    widths = [layer.out_channels for layer in make(layers=6).body if isinstance(layer, nn.Conv2d)]
    assert widths == [8, 16, 32, 64, 64, 64, 64, 1]
    assert [layer.out_channels for layer in make(layers=1).body if isinstance(layer, nn.Conv2d)] == [8, 16, 1]


@pytest.mark.parametrize("is_normalized", [True, False])
def test_image_is_judged_alone(is_normalized):
    network = make(is_normalized=is_normalized).double()
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    together = network(images)
    torch.testing.assert_close(torch.cat([network(image[None]) for image in images]), together, rtol=0, atol=1e-12)
    assert any(isinstance(module, nn.GroupNorm) for module in network.modules()) == is_normalized
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def test_patch_sees_its_part_of_the_image_only():
    """Without a norm, a patch of three halvings sees 4 + 3 * 2 + 3 * 4 + 2 * 8 + 2 * 8 = 54 pixels in a row."""
    network = make(is_normalized=False).double()
    images = torch.randn(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images)[0, 0, 8, 8], images)
    seen = gradient.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [54, 54]


@pytest.mark.parametrize("channels", [8, 64])
def test_first_judgements_are_small_beside_the_margin_and_differ(channels):
    judgements = make(channels=channels)(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert judgements.abs().mean() < 1
    assert judgements.std() > 0.05


def test_discriminator_is_built_without_memory():
    assert all(parameter.is_meta for parameter in without_weights(make).parameters())
