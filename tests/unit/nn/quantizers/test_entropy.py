import pytest
import torch

from vqgen.nn.quantizers import entropy
from vqgen.nn.quantizers.entropy import UsageEntropy

ENTRIES = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)


def make(weight=1.0, groups=1, values=3):
    return UsageEntropy(weight, groups, values).double()


def assignments(latents, distance=1.0):
    return (-torch.cdist(latents, ENTRIES).square() / distance).softmax(dim=1)


def latents(n=50):
    return torch.randn(n, 2, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("rows", [1 << 22, 30])
def test_loss_is_the_entropy_of_latents_minus_the_part_of_the_mean(monkeypatch, rows):
    monkeypatch.setattr(entropy, "_ROWS_ELEMENTS", rows)
    part = make(weight=0.3)
    part.shares.copy_(torch.tensor([[0.7, 0.2, 0.1]]))
    part.distance.fill_(2.0)
    z = latents()
    q = assignments(z, 2.0)
    expected = 0.3 * (q * (part.shares[0].log() - q.log())).sum(dim=1).mean()
    found = part.of_distances(z, ENTRIES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(found, z)[0], torch.autograd.grad(expected, z)[0], rtol=0, atol=1e-13
    )


def test_gradient_is_that_of_the_entropies_if_the_running_mean_is_the_mean():
    """The linear term has the gradient of -H(mean q): sum (log m + 1) dq, and sum dq = 0."""
    part = make()
    z = latents()
    q = assignments(z)
    part.shares.copy_(q.mean(dim=0, keepdim=True).detach())
    mean = q.mean(dim=0)
    entropies = -(q * q.log()).sum(dim=1).mean() + (mean * mean.log()).sum()
    (expected,) = torch.autograd.grad(entropies, z, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(part.of_distances(z, ENTRIES), z)[0], expected, rtol=0, atol=1e-13)


def test_micro_batches_have_the_loss_and_the_means_of_the_whole():
    whole, cut = make(), make()
    z = latents()
    loss = whole.of_distances(z, ENTRIES)
    parts = [cut.of_distances(part, ENTRIES) * len(part) / 50 for part in z.split(20)]
    torch.testing.assert_close(sum(parts), loss, rtol=0, atol=1e-13)
    whole.move()
    cut.move()
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], value, rtol=0, atol=1e-13)


def test_means_are_plain_at_first_and_then_follow():
    part = make()
    first, second = latents(), latents()
    part.of_distances(first, ENTRIES)
    part.move()
    torch.testing.assert_close(part.shares[0], assignments(first).mean(dim=0).detach(), rtol=0, atol=1e-13)
    nearest = torch.cdist(first, ENTRIES).square().amin(dim=1).mean().detach()
    torch.testing.assert_close(part.distance, nearest, rtol=0, atol=1e-12)
    before = part.shares.clone()
    part.moves.fill_(1000)
    q = assignments(second, float(part.distance)).mean(dim=0).detach()
    part.of_distances(second, ENTRIES)
    part.move()
    torch.testing.assert_close(part.shares[0], 0.9 * before[0] + 0.1 * q, rtol=0, atol=1e-13)


def test_bits_are_groups_of_their_own():
    part = make(groups=2, values=2)
    part.shares.copy_(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    z = latents()
    ones = (4 * z).sigmoid()
    q = torch.stack([1 - ones, ones], dim=2)
    expected = (q * (part.shares.log() - q.log())).sum(dim=(1, 2)).mean()
    torch.testing.assert_close(part.of_bits(z), expected, rtol=0, atol=1e-12)
    part.move()
    torch.testing.assert_close(part.shares, q.mean(dim=0).detach(), rtol=0, atol=1e-13)


def test_nothing_moves_without_a_training_step():
    part = make().eval()
    part.of_distances(latents(), ENTRIES)
    part.move()
    assert part.moves == 0


def test_training_by_the_loss_uses_all_codes_alike():
    """Most latents begin near one entry. The loss alone spreads them."""

    def rarest(z):
        return int(torch.cdist(z.detach(), ENTRIES).argmin(dim=1).bincount(minlength=3).min())

    part = make()
    z = (0.5 * torch.randn(60, 2, dtype=torch.float64) + 0.5 * ENTRIES[0]).requires_grad_()
    before = rarest(z)
    optimizer = torch.optim.Adam([z], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        part.of_distances(z, ENTRIES).backward()
        optimizer.step()
        part.move()
    assert rarest(z) >= 2 * before > 0
