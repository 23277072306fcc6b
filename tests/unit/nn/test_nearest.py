import pytest
import torch

from vqgen.nn.nearest import mean_square_distance, nearest_codes, sums_and_counts

# Nearest codes


@pytest.mark.parametrize(("n", "k", "d"), [(1, 2, 1), (37, 5, 3), (100, 64, 16), (3000, 512, 4), (50, 5000, 3)])
def test_codes_are_the_nearest_of_all(n, k, d):
    points = torch.randn(n, d, dtype=torch.float64)
    codebook = torch.randn(k, d, dtype=torch.float64)
    assert torch.equal(nearest_codes(points, codebook), torch.cdist(points, codebook).argmin(dim=1))


def test_chosen_entry_in_float32_is_the_nearest_up_to_rounding():
    points = torch.randn(2000, 16)
    codebook = torch.randn(256, 16)
    chosen = nearest_codes(points, codebook)
    distances = torch.cdist(points.double(), codebook.double())
    assert (distances.gather(1, chosen[:, None])[:, 0] - distances.min(dim=1).values).max() < 1e-5


@pytest.mark.parametrize("elements", [1, 4, 10**9])
def test_first_of_equally_near_entries_wins(monkeypatch, elements):
    monkeypatch.setattr("vqgen.nn.nearest._CHUNK_ELEMENTS", elements)  # equal entries in one tile, and in two
    codebook = torch.tensor([[2.0], [-1.0], [1.0], [-1.0]])
    assert nearest_codes(torch.tensor([[0.0], [-5.0], [1.5]]), codebook).tolist() == [1, 1, 0]


@pytest.mark.parametrize("elements", [1, 7, 64, 10**9])
def test_chunks_change_nothing(monkeypatch, elements):
    points = torch.randn(50, 3, dtype=torch.float64)
    codebook = torch.randn(7, 3, dtype=torch.float64)
    monkeypatch.setattr("vqgen.nn.nearest._CHUNK_ELEMENTS", elements)
    assert torch.equal(nearest_codes(points, codebook), torch.cdist(points, codebook).argmin(dim=1))


@pytest.mark.parametrize("elements", [1, 7, 64, 10**9])
def test_costs_count_as_distances_at_the_weight_of_a_latent(monkeypatch, elements):
    points = torch.randn(50, 3, dtype=torch.float64)
    codebook = torch.randn(7, 3, dtype=torch.float64)
    costs, weights = 3 * torch.rand(7, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    monkeypatch.setattr("vqgen.nn.nearest._CHUNK_ELEMENTS", elements)
    found = nearest_codes(points, codebook, costs=costs, weights=weights)
    distances = torch.cdist(points, codebook).square()
    assert torch.equal(found, (distances + weights[:, None] * costs).argmin(dim=1))
    assert not torch.equal(found, distances.argmin(dim=1))


@pytest.mark.parametrize(("n", "k", "largest"), [(50, 8, 36), (50, 4, 40), (50, 1000, 36), (2, 1000, 12)])
def test_tiles_never_form_a_matrix_of_all_distances(monkeypatch, n, k, largest):
    monkeypatch.setattr("vqgen.nn.nearest._CHUNK_ELEMENTS", 40)  # tiles of 6 x 6, or narrower and higher
    sizes = []
    real = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: sizes.append(real(*a, **k).numel()))
    nearest_codes(torch.randn(n, 3), torch.randn(k, 3))
    assert max(sizes) == largest
    assert sum(sizes) == n * k


def test_latents_that_are_not_finite_get_valid_codes():
    points = torch.tensor([[float("nan")], [float("inf")], [3.0]])
    codes = nearest_codes(points, torch.tensor([[0.0], [3.0]]))
    assert ((codes >= 0) & (codes < 2)).all()
    assert codes[2] == 1


# Statistics


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_and_counts_equal_a_loop(dtype):
    latents = torch.randn(200, 3, dtype=dtype)
    codes = torch.randint(0, 7, (200,))
    statistics = sums_and_counts(latents, codes, 9)  # two codes without a latent
    assert statistics.dtype == dtype
    for code in range(9):
        own = latents[codes == code]
        torch.testing.assert_close(statistics[code, :-1], own.sum(dim=0), rtol=0, atol=2e-5)
        assert statistics[code, -1] == len(own)


@pytest.mark.parametrize("elements", [1, 7, 10**9])
def test_mean_square_distance_equals_that_of_all_differences(monkeypatch, elements):
    monkeypatch.setattr("vqgen.nn.nearest._CHUNK_ELEMENTS", elements)
    latents, quantized = torch.randn(2, 31, 3, dtype=torch.float64).unbind()
    expected = ((latents - quantized) ** 2).mean()
    torch.testing.assert_close(mean_square_distance(latents, quantized), expected, rtol=1e-14, atol=0)
