import torch

from vqgen.nn.quantizers.start import kmeans_entries, restarted_entries


def on_circle(points):
    return torch.nn.functional.normalize(points, dim=1)


def test_centres_settle_after_every_iteration():
    latents = on_circle(torch.randn(200, 2, dtype=torch.float64))
    entries = kmeans_entries(latents, 8, 5, 0, on_circle)
    torch.testing.assert_close(entries.norm(dim=1), torch.ones(8, dtype=torch.float64), rtol=0, atol=1e-12)


def test_iterations_bring_entries_nearer_to_the_latents():
    latents = torch.randn(500, 3, dtype=torch.float64)

    def error(iterations):
        entries = kmeans_entries(latents, 16, iterations, 0, lambda centres: centres)
        return float(torch.cdist(latents, entries).amin(dim=1).square().mean())

    assert error(20) < error(3) < error(0)


def test_idle_entries_alone_become_latents():
    entries, latents = torch.randn(6, 3), torch.randn(50, 3)
    idle = torch.tensor([True, False, True, False, False, False])
    new, fresh = restarted_entries(entries, idle, latents, seed=4)
    assert torch.equal(fresh, idle)
    assert torch.equal(new[~idle], entries[~idle])
    assert all((latents == entry).all(dim=1).any() for entry in new[idle])
    assert torch.equal(restarted_entries(entries, idle, latents, seed=4)[0], new)
    assert not torch.equal(restarted_entries(entries, idle, latents, seed=5)[0], new)
