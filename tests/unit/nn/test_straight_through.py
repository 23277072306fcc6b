import pytest
import torch

from vqgen.nn.straight_through import straight_through


def test_gradient_of_the_value_passes_unchanged():
    z, entries, upstream = torch.randn(3, 40, 3, dtype=torch.float64).unbind()
    value, _ = straight_through(z.requires_grad_(), entries)
    assert torch.equal(value, entries)
    value.backward(upstream)
    assert torch.equal(z.grad, upstream)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.25)])
def test_gradient_of_value_and_loss_equals_that_of_plain_operations(weights):
    z, entries, upstream = torch.randn(3, 40, 3, dtype=torch.float64).unbind()

    def gradient(passed, loss):
        total = weights[0] * (passed * upstream).sum() + weights[1] * loss
        return torch.autograd.grad(total, z)[0]

    z.requires_grad_()
    plain = gradient(entries + (z - z.detach()), (z - entries).square().mean())
    torch.testing.assert_close(gradient(*straight_through(z, entries)), plain, rtol=0, atol=1e-15)


def test_loss_is_the_mean_square_and_unused_results_need_no_gradient():
    z, entries = torch.randn(2, 40, 3, dtype=torch.float64).unbind()
    _, loss = straight_through(z.requires_grad_(), entries)
    torch.testing.assert_close(loss, (z - entries).square().mean(), rtol=1e-14, atol=0)
    loss.backward()
    torch.testing.assert_close(z.grad, 2 * (z.detach() - entries) / z.numel(), rtol=0, atol=1e-15)
