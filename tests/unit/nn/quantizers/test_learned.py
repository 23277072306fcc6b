import pytest
import torch
from tiny_quantizers import make_latents, rows, step

from vqgen.nn.quantizers.learned import LearnedCosineQuantizer, SimVQQuantizer

KINDS = pytest.mark.parametrize("kind", [LearnedCosineQuantizer, SimVQQuantizer])


def make(kind, **settings):
    return kind(6, 3, **{"data_init": False, "restart_after": 0} | settings).double()


@KINDS
def test_codebook_loss_moves_entries_and_commitment_moves_latents(kind):
    quantizer = make(kind)
    z = make_latents().requires_grad_()
    out = quantizer(z)
    (weight,) = quantizer.parameters()
    assert torch.autograd.grad(out.codebook_loss, z, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(out.codebook_loss, weight, retain_graph=True)[0].any()
    assert torch.autograd.grad(out.commitment_loss, weight, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(out.quantized.sum(), weight, allow_unused=True)[0] is None


@KINDS
def test_losses_are_the_mean_square_distance(kind):
    quantizer = make(kind)
    out = quantizer(z := make_latents())
    distance = (quantizer.place(rows(z)) - rows(out.quantized)).square().mean()
    torch.testing.assert_close(out.codebook_loss.detach(), distance.detach(), rtol=0, atol=1e-14)
    torch.testing.assert_close(out.commitment_loss, distance.detach(), rtol=0, atol=1e-14)


def test_gradient_of_the_matrix_has_its_closed_form():
    quantizer = make(SimVQQuantizer)
    out = quantizer(z := make_latents())
    out.codebook_loss.backward()
    chosen = quantizer.codebook[out.codes.flatten()]
    expected = 2 * (chosen @ quantizer.projection.detach().T - rows(z)).T @ chosen / z.numel()
    torch.testing.assert_close(quantizer.projection.grad, expected, rtol=0, atol=1e-13)


def test_one_matrix_moves_entries_that_receive_nothing():
    quantizer = make(SimVQQuantizer)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5)
    before = quantizer.entries().detach().clone()
    out = quantizer(make_latents(b=1, side=1))  # one latent
    out.codebook_loss.backward()
    optimizer.step()
    assert (quantizer.entries() - before).abs().amin(dim=1).min() > 0


@KINDS
def test_restart_leaves_the_other_weights_bit_for_bit(kind):
    quantizer = make(kind, restart_after=1)
    with torch.no_grad():
        next(quantizer.parameters()).add_(0.01 * torch.randn_like(next(quantizer.parameters())))
    held = quantizer.codebook.weight if kind is LearnedCosineQuantizer else quantizer.codebook
    before = held.detach().clone()
    (out,) = step(quantizer, make_latents(b=1, side=2))
    used = out.codes.unique()
    assert torch.equal(held.detach()[used], before[used])
    idle = [code for code in range(6) if code not in used]
    assert not torch.equal(held.detach()[idle], before[idle])
    assert torch.equal(quantizer.ema_counts[idle] == 1, (held.detach()[idle] != before[idle]).any(dim=1))


@pytest.mark.parametrize("rank", [3, 2])
def test_restarted_entry_is_the_latent_as_far_as_the_matrix_reaches(rank):
    quantizer = make(SimVQQuantizer, restart_after=1)
    with torch.no_grad():
        left, _, right = torch.linalg.svd(torch.randn(3, 3, dtype=torch.float64))
        quantizer.projection.copy_(left[:, :rank] @ right[:rank])
    z = make_latents(b=1, side=2)
    step(quantizer, z)
    entries = quantizer.entries().detach()
    assert entries.isfinite().all()
    reached = rows(z) @ left[:, :rank] @ left[:, :rank].T
    distances = torch.cdist(entries, reached).amin(dim=1)
    assert (distances < 1e-10).sum() >= 2  # idle entries that took different latents


def test_matrix_is_the_identity_after_a_start_at_the_data():
    quantizer = make(SimVQQuantizer, data_init=True)
    quantizer(make_latents())
    assert torch.equal(quantizer.projection, torch.eye(3, dtype=torch.float64))


@KINDS
def test_started_quantizer_does_not_start_again_after_loading(kind):
    quantizer = make(kind, data_init=True)
    step(quantizer, make_latents())
    other = make(kind, data_init=True)
    other.load_state_dict(quantizer.state_dict())
    step(other, make_latents() + 100)
    assert torch.equal(other.entries(), quantizer.entries())
