"""A product in the blocked layout equals the plain one, and the layout depends on the size."""

import pytest
import torch

from vqgen.sampling.row_product import RowProduct, packs


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-3), (torch.bfloat16, 2.0)])
@pytest.mark.parametrize("out, c", [(256, 1792), (128, 64)])
@pytest.mark.parametrize("rows", [1, 3, 11, 100])
def test_product_equals_the_product_in_float64(dtype, tolerance, out, c, rows):
    matrix = torch.randn(out, c)
    features = torch.randn(rows, c)
    added = torch.randn(rows, out)
    matrix, features, added = (tensor.to(dtype) for tensor in (matrix, features, added))
    exact = added.double() + features.double() @ matrix.double().T
    for most_rows in (1, 11, 100):
        found = RowProduct(matrix, most_rows)(features, added)
        assert found.dtype == dtype
        assert (found.double() - exact).abs().max() < tolerance


def test_part_of_a_larger_tensor_can_be_added():
    matrix = torch.randn(256, 1792)
    features = torch.randn(11, 1792)
    added = torch.randn(30, 600)
    found = RowProduct(matrix, 30)(features, added[10:21, 100:356])
    assert torch.allclose(found, added[10:21, 100:356] + features @ matrix.T, atol=2e-3)


def test_small_matrices_few_rows_and_double_precision_stay_plain():
    large = torch.randn(256, 1792)
    assert not packs(large[:10], 100)
    assert not packs(large, 1)
    assert not packs(large.double(), 100)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_large_matrices_are_packed_here():
    assert packs(torch.randn(256, 1792), 11)


def test_product_without_the_operators_is_plain(monkeypatch):
    matrix = torch.randn(256, 1792)
    features = torch.randn(11, 1792)
    added = torch.randn(11, 256)
    monkeypatch.setattr("vqgen.sampling.row_product.packs", lambda *_: False)
    assert torch.equal(RowProduct(matrix, 11)(features, added), torch.addmm(added, features, matrix.T))
