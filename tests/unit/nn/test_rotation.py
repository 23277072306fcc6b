import pytest
import torch

from vqgen.nn.rotation import rotate_through
from vqgen.nn.straight_through import straight_through


def latents_and_entries(n=40, d=3):
    return torch.randn(n, d, dtype=torch.float64, requires_grad=True), torch.randn(n, d, dtype=torch.float64)


def rotation(z, e):
    """Builds the rotation from z to e, both of length 1, by Rodrigues: I + T + T^2 / (1 + z.e), T = ez' - ze'."""
    turn = torch.outer(e, z) - torch.outer(z, e)
    return torch.eye(len(z), dtype=z.dtype) + turn + turn @ turn / (1 + z @ e)


def test_value_is_the_entry_bit_for_bit_and_the_loss_that_of_the_straight_through_estimator():
    z, entries = latents_and_entries()
    value, loss = rotate_through(z, entries)
    assert torch.equal(value, entries)
    assert loss == straight_through(z, entries)[1]


@pytest.mark.parametrize("d", [2, 3, 8])
def test_gradient_is_turned_and_scaled_like_the_latent(d):
    z, entries = latents_and_entries(d=d)
    upstream = torch.randn_like(entries)
    rotate_through(z, entries)[0].backward(upstream)
    for i in range(len(z)):
        latent = z[i].detach()
        scaled = rotation(latent / latent.norm(), entries[i] / entries[i].norm()) * (entries[i].norm() / latent.norm())
        torch.testing.assert_close(
            scaled @ latent, entries[i], rtol=0, atol=1e-11
        )  # it turns the latent into its entry
        torch.testing.assert_close(z.grad[i], scaled.T @ upstream[i], rtol=0, atol=1e-10)


def test_gradient_keeps_its_angle_to_the_vector():
    z, entries = latents_and_entries()
    upstream = torch.randn_like(entries)
    rotate_through(z, entries)[0].backward(upstream)
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(z.grad, z.detach()), cosine(upstream, entries), rtol=0, atol=1e-11)


@pytest.mark.parametrize("latent", [[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]])
def test_gradient_without_a_plane_passes_unchanged(latent):
    z = torch.tensor([latent], dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, 3, dtype=torch.float64)
    rotate_through(z, torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))[0].backward(upstream)
    assert torch.equal(z.grad, upstream)


def test_gradients_of_value_and_loss_add_up():
    z, entries = latents_and_entries()
    upstream = torch.randn_like(entries)
    value, loss = rotate_through(z, entries)
    (both,) = torch.autograd.grad((value * upstream).sum() + 0.25 * loss, z, retain_graph=True)
    (of_value,) = torch.autograd.grad((value * upstream).sum(), z, retain_graph=True)
    (of_loss,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(both, of_value + 0.25 * of_loss, rtol=0, atol=1e-14)
    torch.testing.assert_close(of_loss, 2 * (z.detach() - entries) / z.numel(), rtol=0, atol=1e-15)
