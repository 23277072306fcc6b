import torch
from tiny_models import labelled_images, make_baseline
from torch.distributions import Independent, Normal, kl_divergence

from vqgen.models.autoencoders.latent_model import LatentDraws
from vqgen.models.autoencoders.vae import GaussianPosterior
from vqgen.sampling import image_draws


def test_divergence_and_log_ratio_are_those_of_torch():
    mean = torch.randn(4, 6, dtype=torch.float64)
    log_variance = torch.randn(4, 6, dtype=torch.float64)
    q = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    posterior = GaussianPosterior(mean, log_variance)
    torch.testing.assert_close(posterior.divergence(), kl_divergence(q, p))
    z = q.sample((7,))
    torch.testing.assert_close(posterior.log_ratio(z), p.log_prob(z) - q.log_prob(z))


def test_gradient_of_a_draw_has_its_closed_form():
    mean = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    draws = LatentDraws.like(torch.empty(2, 3, dtype=torch.float64))
    GaussianPosterior(mean, log_variance).sample(draws).sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))  # d z / d mu = 1
    expected = 0.5 * (log_variance / 2).exp() * draws.normal  # d z / d log sigma^2 = sigma epsilon / 2
    torch.testing.assert_close(log_variance.grad, expected.detach())


def test_posterior_is_the_prior_if_the_encoder_returns_zeros():
    model = make_baseline()
    for parameter in model.encoder.output.parameters():
        parameter.data.zero_()
    assert torch.equal(model.posterior(*labelled_images()).divergence(), torch.zeros(5, dtype=torch.float64))


def test_latents_of_an_image_are_the_mean_of_its_posterior():
    model = make_baseline()
    images, labels = labelled_images()
    assert torch.equal(model.encode(images, labels), model.posterior(images, labels).mean)


def test_prior_is_the_standard_gaussian_with_deviations_of_the_temperature():
    draws = image_draws(0, range(4000), 3)
    labels = torch.full((4000,), -1)
    latents = make_baseline().from_prior(draws, labels)
    # 4,000 draws: an entry of the covariance deviates by at most 0.022, so this is more than five deviations.
    torch.testing.assert_close(latents.T.cov(), torch.eye(3, dtype=torch.float64), rtol=0, atol=0.12)
    assert torch.equal(make_baseline().from_prior(draws, labels, temperature=0.5), latents / 2)
