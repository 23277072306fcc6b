"""The start of a codebook at the data."""

import pytest
import torch
from tiny_quantizers import make_latents, make_quantizer, rows, step


def test_data_init_takes_distinct_latents():
    quantizer = make_quantizer(data_init=True, kmeans_iterations=0)
    z = make_latents()
    quantizer(z)
    equal = (quantizer.codebook[:, None] == rows(z)).all(dim=2)  # bit for bit; cdist may round
    assert equal.any(dim=1).all()
    assert len(set(equal.int().argmax(dim=1).tolist())) == 6
    assert torch.equal(quantizer.ema_counts, torch.ones(6, dtype=torch.float64))
    assert torch.equal(quantizer.ema_sums, quantizer.codebook)
    assert bool(quantizer.initialized)


def test_data_init_with_fewer_latents_than_codes_uses_all_latents_and_repeats_no_code():
    quantizer = make_quantizer(size=20, data_init=True, kmeans_iterations=3)
    z = make_latents(b=1, side=2)
    out = quantizer(z)
    assert out.commitment_loss.item() < 1e-28  # every latent is an entry
    apart = torch.cdist(quantizer.codebook, quantizer.codebook) + torch.eye(20)
    assert apart.min() > 1e-4  # latents of length about one: far above rounding
    step(quantizer, z)
    assert torch.isfinite(quantizer.codebook).all()


@pytest.mark.parametrize("rounding", [0.0, 1e-12])
def test_equal_latents_choose_the_same_codes_under_any_rounding(rounding):
    z = make_latents(b=1, side=2).repeat(8, 1, 1, 1)
    chosen = []
    for seed in range(3):
        quantizer = make_quantizer(size=20, data_init=True, kmeans_iterations=0)
        noise = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(seed))
        chosen.append(quantizer(z + rounding * noise).codes)
        assert len(chosen[0].unique()) == 4  # as many as there are different latents
    assert all(torch.equal(codes, chosen[0]) for codes in chosen)


def test_data_init_happens_once():
    quantizer = make_quantizer(data_init=True, kmeans_iterations=0, decay=0.99)
    quantizer(make_latents())
    before = quantizer.codebook.clone()
    quantizer(make_latents() + 100)
    assert torch.equal(quantizer.codebook, before)


def test_step_seed_decides_the_latents_of_the_start():
    z = make_latents(b=8)

    def start(seed):
        quantizer = make_quantizer(data_init=True, kmeans_iterations=0)
        quantizer.step_seed = seed
        quantizer(z)
        return quantizer.codebook

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))  # 6 of 128: the same choice has probability below 1e-11


def test_kmeans_finds_separate_clusters():
    centres = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]], dtype=torch.float64)
    points = (centres.repeat(25, 1) + 0.1 * torch.randn(100, 3, dtype=torch.float64)).T.reshape(1, 3, 10, 10)
    means = torch.stack([rows(points)[k::4].mean(dim=0) for k in range(4)])
    found = []
    for seed in range(20):  # one start in ten has a latent of each cluster; from it the means are exact
        quantizer = make_quantizer(size=4, data_init=True, kmeans_iterations=10)
        quantizer.step_seed = seed
        quantizer(points)
        found.append(torch.cdist(means, quantizer.codebook).min(dim=1).values.max().item())
    assert min(found) < 1e-12


@pytest.mark.parametrize("iterations", [1, 4])
def test_kmeans_equals_a_naive_loop_of_lloyds_algorithm(iterations):
    z = make_latents(b=4)
    start = make_quantizer(data_init=True, kmeans_iterations=0)
    start(z)
    quantizer = make_quantizer(data_init=True, kmeans_iterations=iterations)
    quantizer(z)
    centres = start.codebook.clone()
    for _ in range(iterations):
        nearest = torch.cdist(rows(z), centres).argmin(dim=1)
        for k in range(6):
            if (nearest == k).any():
                centres[k] = rows(z)[nearest == k].mean(dim=0)
    torch.testing.assert_close(quantizer.codebook, centres, rtol=0, atol=1e-12)
