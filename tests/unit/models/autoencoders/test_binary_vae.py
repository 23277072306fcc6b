import pytest
import torch
from tiny_models import make_baseline
from torch.distributions import Bernoulli, Independent, kl_divergence

from vqgen.models.autoencoders.binary_vae import BernoulliPosterior, straight_through
from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.sampling import image_draws


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_divergence_and_log_ratio_are_those_of_torch(temperature):
    logits = 3 * torch.randn(4, 6, dtype=torch.float64)
    q = Independent(Bernoulli(logits=logits), 1)
    p = Independent(Bernoulli(torch.full_like(logits, 0.5)), 1)
    posterior = BernoulliPosterior(logits, temperature)
    torch.testing.assert_close(posterior.divergence(), kl_divergence(q, p))
    z = q.sample((7,))
    torch.testing.assert_close(posterior.log_ratio(z), p.log_prob(z) - q.log_prob(z))


def test_divergence_of_sure_bits_is_finite():
    posterior = BernoulliPosterior(torch.tensor([[800.0, -800.0]], dtype=torch.float64), None)
    torch.testing.assert_close(posterior.divergence(), 2 * torch.tensor([2.0], dtype=torch.float64).log())


def test_bits_are_drawn_with_their_probability_and_the_gradient_goes_straight_through():
    logits = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(40_000, 1, 3, dtype=torch.float64))
    bits = BernoulliPosterior(logits, None).sample(draws)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    # 40,000 draws: five deviations are at most 0.0125.
    torch.testing.assert_close(bits.mean(dim=0), logits.sigmoid(), rtol=0, atol=0.0125)
    bits[0].sum().backward()
    p = logits.sigmoid().detach()
    torch.testing.assert_close(logits.grad, p * (1 - p))


def test_gumbel_gradient_is_the_one_of_the_relaxed_bits():
    logits = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(1, 3, dtype=torch.float64))
    bits = BernoulliPosterior(logits, 0.5).sample(draws)
    assert set(bits.unique().tolist()) <= {0.0, 1.0}
    bits.sum().backward()
    twin = logits.detach().clone().requires_grad_()
    ((twin + draws.uniform.logit()) / 0.5).sigmoid().sum().backward()
    torch.testing.assert_close(logits.grad, twin.grad)


def test_draws_of_zero_stay_finite():
    zeros = torch.zeros(1, 3, dtype=torch.float64)
    draws = LatentDraws(zeros[:, 0], zeros, zeros)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    bits = BernoulliPosterior(logits, 0.5).sample(draws)
    bits.sum().backward()
    assert torch.equal(bits, zeros)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_straight_through_returns_the_values_and_the_gradient_of_the_other():
    values = torch.tensor([[1.0, 0.0, 1.0]])
    differentiable = torch.tensor([[0.3, 0.1, 1e-9]], requires_grad=True)
    passed = straight_through(values, differentiable)
    assert torch.equal(passed, values)
    passed.sum().backward()
    assert torch.equal(differentiable.grad, torch.ones(1, 3))


def test_gradient_of_a_model_is_chosen_by_its_configuration():
    images = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    labels = torch.tensor([-1])
    straight = make_baseline(kind="binary-vae")
    relaxed = make_baseline(kind="binary-vae", gradient="gumbel", gumbel_temperature=0.25)
    assert straight.posterior(images, labels).gumbel_temperature is None
    assert relaxed.posterior(images, labels).gumbel_temperature == 0.25


def test_prior_is_a_fair_coin_at_any_temperature():
    model = make_baseline(kind="binary-vae")
    draws = image_draws(0, range(4000), 3)
    labels = torch.full((4000,), -1)
    bits = model.from_prior(draws, labels)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert (bits.mean(dim=0) - 0.5).abs().max() < 0.04  # five deviations of 4,000 draws
    assert torch.equal(model.from_prior(draws, labels, temperature=0.5), bits)
