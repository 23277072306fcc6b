import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vqgen.nn.upsampling import NearestConv2d, upsampling_layer


def test_one_transposed_convolution_is_repeating_and_convolving():
    layer = NearestConv2d(3, 5).double()
    x = torch.randn(2, 3, 4, 7, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_gradient_reaches_the_kernel_and_is_that_of_the_two_steps():
    layer = NearestConv2d(2, 3).double()
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().clone().requires_grad_()
    F.conv2d(F.interpolate(x, scale_factor=2), weight, layer.bias.detach(), padding=1).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad, rtol=1e-10, atol=1e-10)


def test_flat_features_have_no_checkerboard():
    """All four outputs of a feature have the same weights; those of a free kernel differ."""
    x = torch.ones(1, 2, 6, 6)
    inner = NearestConv2d(2, 1)(x)[..., 2:-2, 2:-2]
    assert (inner - inner.mean()).abs().max() < 1e-5
    free = upsampling_layer("transposed", 2, 1)(x)[..., 2:-2, 2:-2]
    assert (free - free.mean()).abs().max() > 1e-2


@pytest.mark.parametrize(("kind", "expected"), [("transposed", nn.ConvTranspose2d), ("nearest", NearestConv2d)])
def test_each_kind_doubles_both_sides(kind, expected):
    layer = upsampling_layer(kind, 3, 5)
    assert isinstance(layer, expected)
    assert layer(torch.randn(2, 3, 4, 7)).shape == (2, 5, 8, 14)
