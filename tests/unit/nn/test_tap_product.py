import pytest
import torch

from vqgen.nn.tap_product import TapProduct, row_bands

OFFSETS = [(-2, -1), (-2, 1), (-1, 0), (-1, 2), (0, -2)]
GRIDS = [(1, 1), (1, 4), (4, 1), (2, 3), (5, 4)]


def bands_both_ways(grid, offsets=OFFSETS):
    return row_bands(offsets, *grid), row_bands([(-dr, -dc) for dr, dc in offsets], *grid)


def naive_product(features, weight, grid, offsets=OFFSETS):
    """Tap by tap, position by position."""
    height, width = grid
    result = features.new_zeros(*features.shape[:2], weight.shape[2])
    for row in range(height):
        for column in range(width):
            for tap, (dr, dc) in enumerate(offsets):
                if 0 <= row + dr < height and 0 <= column + dc < width:
                    neighbour = features[:, (row + dr) * width + column + dc]
                    result[:, row * width + column] += neighbour @ weight[tap]
    return result


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("offsets", [OFFSETS, [(-dr, -dc) for dr, dc in OFFSETS], [(0, 0)], [(-9, 0)]])
def test_bands_cover_the_rows_once_with_exactly_the_neighbours_of_their_taps(grid, offsets):
    height, width = grid
    n = height * width
    bands = row_bands(offsets, height, width)
    assert [p for band in bands for p in range(n)[band.positions]] == list(range(n))
    for band in bands:
        expected = []
        for position in range(n)[band.positions]:
            row, column = divmod(position, width)
            rows_inside = [0 <= row + dr < height for dr, _ in offsets]
            assert rows_inside == [tap in range(len(offsets))[band.taps] for tap in range(len(offsets))]
            for dr, dc in offsets[band.taps]:
                inside = 0 <= column + dc < width
                expected.append((row + dr) * width + column + dc if inside else n)
        assert band.neighbours.tolist() == expected


@pytest.mark.parametrize("grid", GRIDS)
def test_product_equals_a_naive_loop(grid):
    features = torch.randn(3, grid[0] * grid[1], 2, dtype=torch.float64)
    weight = torch.randn(5, 2, 4, dtype=torch.float64)
    found = TapProduct.apply(features, weight, *bands_both_ways(grid))
    assert torch.allclose(found, naive_product(features, weight, grid), atol=1e-12)


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
def test_gradients_equal_those_of_a_naive_loop(needed):
    features = torch.randn(3, 20, 2, dtype=torch.float64, requires_grad=needed[0])
    weight = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=needed[1])
    upstream = torch.randn(3, 20, 4, dtype=torch.float64)
    inputs = [each for each in (features, weight) if each.requires_grad]
    results = TapProduct.apply(features, weight, *bands_both_ways((5, 4))), naive_product(features, weight, (5, 4))
    found, expected = (torch.autograd.grad(result, inputs, upstream) for result in results)
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(found, expected, strict=True))


def test_weight_gradient_in_bfloat16_is_summed_in_float32(monkeypatch):
    features = torch.randn(64, 20, 2).bfloat16()
    upstream = torch.randn(64, 20, 4).bfloat16()
    weight = torch.randn(5, 2, 4).bfloat16().requires_grad_()
    double = weight.detach().double().requires_grad_()
    monkeypatch.setattr("vqgen.nn.tap_product._GATHERED_ELEMENTS", 1)  # a chunk for every image
    (found,) = torch.autograd.grad(TapProduct.apply(features, weight, *bands_both_ways((5, 4))), weight, upstream)
    exact = naive_product(features.double(), double, (5, 4))
    (expected,) = torch.autograd.grad(exact, double, upstream.double())
    assert (found - expected).norm() < 0.005 * expected.norm()  # one rounding to 8 bits


def test_chunks_of_images_change_nothing(monkeypatch):
    features = torch.randn(7, 20, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)

    def results():
        result = TapProduct.apply(features, weight, *bands_both_ways((5, 4)))
        return result, *torch.autograd.grad(result.square().sum(), (features, weight))

    whole = results()
    for elements in (1, 3 * 3 * 12 * 5):  # one image, and three images of the widest bands
        monkeypatch.setattr("vqgen.nn.tap_product._GATHERED_ELEMENTS", elements)
        assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(whole, results(), strict=True))
