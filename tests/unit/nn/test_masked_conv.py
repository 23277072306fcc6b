import math

import pytest
import torch
from torch.nn import functional as F

from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.order import CausalOrder

SLOPES = [1, 2, 3, "raster"]


def make(slope, kernel_size=5, *, strict, height=5, width=7, channels=(3, 4)):
    torch.manual_seed(0)
    order = CausalOrder(height, width, slope)
    convolution = MaskedConv2d(*channels, order, kernel_size, strict=strict).double()
    torch.nn.init.normal_(convolution.bias)
    return convolution, order


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("strict", [True, False])
def test_convolution_equals_a_loop_over_the_open_taps(slope, kernel_size, strict):
    convolution, order = make(slope, kernel_size, strict=strict)
    features = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    expected = convolution.bias.expand(2, 5, 7, 4).clone()
    mask = order.kernel_mask(kernel_size, strict=strict)
    half = kernel_size // 2
    open_taps = [(r - half, c - half) for r in range(kernel_size) for c in range(kernel_size) if mask[r, c]]
    assert convolution.offsets == open_taps
    for row in range(5):
        for column in range(7):
            for tap, (dr, dc) in enumerate(open_taps):
                if 0 <= row + dr < 5 and 0 <= column + dc < 7:
                    expected[:, row, column] += features[:, :, row + dr, column + dc] @ convolution.weight[:, :, tap].T
    assert torch.allclose(convolution(features).permute(0, 2, 3, 1), expected, atol=1e-12)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("strict", [True, False])
def test_convolution_equals_a_dense_convolution_with_a_masked_kernel(slope, strict):
    convolution, order = make(slope, strict=strict)
    dense = torch.zeros(4, 3, 5, 5, dtype=torch.float64)
    dense[:, :, torch.from_numpy(order.kernel_mask(5, strict=strict))] = convolution.weight.detach()
    features = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    assert torch.allclose(convolution(features), F.conv2d(features, dense, convolution.bias, padding=2), atol=1e-12)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (4, 3)])
def test_jacobian_is_open_exactly_for_near_positions_of_earlier_times(slope, strict, height, width):
    convolution, order = make(slope, strict=strict, height=height, width=width)
    n = height * width
    features = torch.randn(n, 3, height, width, dtype=torch.float64, requires_grad=True)
    output = convolution(features).flatten(2)
    output[torch.arange(n), :, torch.arange(n)].sum().backward()  # image i looks at the output at position i
    assert features.grad is not None
    seen = features.grad.abs().sum(1).flatten(1) != 0
    rows = torch.arange(n) // width
    columns = torch.arange(n) % width
    near = ((rows[:, None] - rows).abs() <= 2) & ((columns[:, None] - columns).abs() <= 2)
    times = torch.from_numpy(order.times).flatten()
    earlier = times[None] < times[:, None] if strict else times[None] <= times[:, None]
    # The mask is the same at the edge of the grid, because near positions keep their order in time there, too.
    assert torch.equal(seen, near & earlier)


def test_initial_variance_counts_the_open_taps_only():
    convolution, _ = make(2, strict=False, channels=(32, 64))
    assert convolution.weight.shape == (64, 32, 14)
    # 28,672 draws: the relative error of the variance has standard deviation sqrt(0.8 / 28,672) = 0.5 %.
    assert convolution.weight.var().item() == pytest.approx(1 / (32 * 14), rel=0.03)
    convolution.reset_parameters()
    assert convolution.bias.abs().max() == 0
    assert convolution.weight.abs().max() <= math.sqrt(3 / (32 * 14))


def test_closed_taps_have_no_weights_and_forward_changes_no_state():
    convolution, _ = make(2, strict=True)
    assert set(convolution.state_dict()) == {"weight", "bias"}
    before = {name: value.clone() for name, value in convolution.state_dict().items()}
    convolution(torch.randn(1, 3, 5, 7, dtype=torch.float64)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in convolution.state_dict().items())
    assert convolution.kernel_shape == (3, 5)  # rows below the centre are closed and cropped


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("strict", [True, False])
def test_gradients_equal_finite_differences(slope, strict):
    convolution, _ = make(slope, strict=strict)
    features = torch.randn(1, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    parameters = (features, convolution.weight, convolution.bias)
    assert torch.autograd.gradcheck(lambda features, *_: convolution(features), parameters)


def test_dense_and_sparse_ways_give_the_same_results_and_gradients():
    convolution, _ = make(2, strict=False)
    features = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    inputs = (features, convolution.weight, convolution.bias)
    results = [way(features) for way in (convolution._multiply, convolution._convolve)]
    assert torch.allclose(*results, atol=1e-12)
    gradients = [torch.autograd.grad(result.square().sum(), inputs) for result in results]
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(*gradients, strict=True))


def test_wrong_kernel_and_wrong_grid_are_refused():
    with pytest.raises(ValueError, match="kernel_size should be at least 3 for a strict convolution, found 1"):
        MaskedConv2d(1, 1, CausalOrder(3, 3), 1, strict=True)
    with pytest.raises(ValueError, match=r"features should have the order's grid \(3, 3\), found \(3, 4\)"):
        MaskedConv2d(1, 1, CausalOrder(3, 3), 3, strict=True)(torch.zeros(1, 1, 3, 4))
    with pytest.raises(ValueError, match="kernel_size should be odd"):
        MaskedConv2d(1, 1, CausalOrder(3, 3), 4, strict=True)


def test_repr_shows_channels_and_taps():
    assert repr(MaskedConv2d(2, 3, CausalOrder(3, 3, 2), 3, strict=True)) == "MaskedConv2d(2, 3, taps=4)"
