import pytest
import torch

from vqgen.nn.tap_product import TapProduct, chunks, row_bands, with_zeros

OFFSETS = [(-2, -1), (-2, 1), (-1, 0), (-1, 2), (0, -2)]
GRIDS = [(1, 1), (1, 4), (4, 1), (2, 3), (5, 4)]


def naive_product(features, weight, offsets=OFFSETS):
    """Tap by tap, position by position."""
    height, width = features.shape[:2]
    result = features.new_zeros(*features.shape[:3], weight.shape[2])
    for row in range(height):
        for column in range(width):
            for tap, (dr, dc) in enumerate(offsets):
                if 0 <= row + dr < height and 0 <= column + dc < width:
                    result[row, column] += features[row + dr, column + dc] @ weight[tap]
    return result


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("offsets", [OFFSETS, [(-dr, -dc) for dr, dc in OFFSETS], [(0, 0)], [(-9, 0)]])
def test_bands_cover_the_rows_once_with_exactly_the_neighbours_of_their_taps(grid, offsets):
    height, width = grid
    bands = row_bands(offsets, height, width)
    assert [row for band in bands for row in range(height)[band.rows]] == list(range(height))
    for band in bands:
        expected = []
        assert list(band.offsets) == offsets[band.taps]
        for row in range(height)[band.rows]:
            rows_inside = [0 <= row + dr < height for dr, _ in offsets]
            assert rows_inside == [tap in range(len(offsets))[band.taps] for tap in range(len(offsets))]
            for column in range(width):
                for dr, dc in offsets[band.taps]:
                    inside = 0 <= column + dc < width
                    expected.append((row + dr) * width + column + dc if inside else height * width)
        assert band.neighbours.tolist() == expected


@pytest.mark.parametrize("grid", GRIDS)
def test_product_equals_a_naive_loop(grid):
    features = torch.randn(*grid, 3, 2, dtype=torch.float64)
    weight = torch.randn(5, 2, 4, dtype=torch.float64)
    found = TapProduct.apply(features, weight, row_bands(OFFSETS, *grid))
    assert torch.allclose(found, naive_product(features, weight), atol=1e-12)


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
def test_gradients_equal_those_of_a_naive_loop(needed):
    features = torch.randn(5, 4, 3, 2, dtype=torch.float64, requires_grad=needed[0])
    weight = torch.randn(5, 2, 4, dtype=torch.float64, requires_grad=needed[1])
    upstream = torch.randn(5, 4, 3, 4, dtype=torch.float64)
    inputs = [each for each in (features, weight) if each.requires_grad]
    results = TapProduct.apply(features, weight, row_bands(OFFSETS, 5, 4)), naive_product(features, weight)
    found, expected = (torch.autograd.grad(result, inputs, upstream) for result in results)
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(found, expected, strict=True))


def test_gradients_in_bfloat16_are_summed_in_float32(monkeypatch):
    features = torch.randn(5, 4, 64, 2).bfloat16().requires_grad_()
    upstream = torch.randn(5, 4, 64, 4).bfloat16()
    weight = torch.randn(5, 2, 4).bfloat16().requires_grad_()
    double = [each.detach().double().requires_grad_() for each in (features, weight)]
    monkeypatch.setattr("vqgen.nn.tap_product.GATHERED_ELEMENTS", 1)  # a chunk for every row
    result = TapProduct.apply(features, weight, row_bands(OFFSETS, 5, 4))
    found = torch.autograd.grad(result, (features, weight), upstream)
    expected = torch.autograd.grad(naive_product(*double), double, upstream.double())
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() < 0.005 * other.norm()  # one rounding to 8 bits


def test_small_parts_of_a_bfloat16_gradient_are_not_lost(monkeypatch):
    """256 + 1 + 1 + 1 + 1 is 260, but 256 if each sum is rounded to 8 bits."""
    monkeypatch.setattr("vqgen.nn.tap_product.GATHERED_ELEMENTS", 1)
    parts = torch.tensor([256.0, 1, 1, 1, 1]).bfloat16()
    ones = torch.ones(5).bfloat16()
    features = parts.view(5, 1, 1, 1).clone().requires_grad_()  # rows: one part of the weight's gradient from each
    weight = ones[:1].view(1, 1, 1).clone().requires_grad_()
    TapProduct.apply(features, weight, row_bands([(0, 0)], 5, 1)).backward(ones.view(5, 1, 1, 1))
    assert weight.grad.item() == 260
    features = ones.view(1, 5, 1, 1).clone().requires_grad_()  # columns: each reads the first one by another tap
    weight = parts.view(5, 1, 1).clone().requires_grad_()
    bands = row_bands([(0, -column) for column in range(5)], 1, 5)
    TapProduct.apply(features, weight, bands).backward(ones.view(1, 5, 1, 1))
    assert features.grad[0, 0].item() == 260


def test_chunks_of_rows_change_nothing(monkeypatch):
    features = torch.randn(5, 4, 7, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)

    def results():
        result = TapProduct.apply(features, weight, row_bands(OFFSETS, 5, 4))
        return result, *torch.autograd.grad(result.square().sum(), (features, weight))

    whole = results()
    for elements in (1, 2 * 4 * 5 * 7 * 3):  # one row, and two rows of the widest bands
        monkeypatch.setattr("vqgen.nn.tap_product.GATHERED_ELEMENTS", elements)
        assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(whole, results(), strict=True))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("most", [1, 10**6])
def test_scattering_is_the_transpose_of_gathering(monkeypatch, grid, most):
    monkeypatch.setattr("vqgen.nn.tap_product.GATHERED_ELEMENTS", most)
    features = torch.randn(*grid, 3, 2, dtype=torch.float64)
    for chunk in chunks(row_bands(OFFSETS, *grid), 3, 2):
        gathered = chunk.gather(with_zeros(features))
        other = torch.randn_like(gathered)
        back = torch.zeros_like(features)
        chunk.scatter_add(other, back)
        assert torch.allclose((gathered * other).sum(), (features * back).sum(), atol=1e-12)  # <Ax, y> = <x, A'y>


@pytest.mark.parametrize("most", [1, 100, 250, 10**6])
def test_chunks_gather_no_more_than_they_may_or_a_single_row(monkeypatch, most):
    monkeypatch.setattr("vqgen.nn.tap_product.GATHERED_ELEMENTS", most)
    bands = row_bands(OFFSETS, 5, 4)
    found = list(chunks(bands, 3, 2))
    padded = with_zeros(torch.zeros(5, 4, 3, 2))
    assert all(chunk.gather(padded).numel() <= most or chunk.rows.stop - chunk.rows.start == 1 for chunk in found)
    assert [row for chunk in found for row in range(5)[chunk.rows]] == list(range(5))
    assert all(chunk.rows.stop <= chunk.band.rows.stop for chunk in found)


def test_second_derivative_is_an_error_and_not_a_wrong_number():
    features = torch.randn(2, 3, 2, 2, requires_grad=True)
    result = TapProduct.apply(features, torch.randn(5, 2, 4), row_bands(OFFSETS, 2, 3))
    (gradient,) = torch.autograd.grad(result.square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
